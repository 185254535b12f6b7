"""The recover step as a whole: from its config to a finished checkpoint."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.recover.options import RecoverOptions
from drawplate.training.loop import Windows, train
from drawplate.training.model import MLP, open_model, write_model
from drawplate.training.split import is_held_out, read_all_windows


def recover_checkpoint(
    parent: Path,
    data: Path,
    output: Path,
    config: dict[str, Any],
    resume_folder: Path,
    threads: int,
) -> dict[str, Any]:
    """Train a checkpoint on calibration text.

    Args:
        parent: Float checkpoint of a causal language model.
        data: Folder of the data stage.
        output: Empty folder to fill.
        config: Flat fields of `RecoverOptions` and `TrainingOptions`.
        resume_folder: Where a killed run finds its kept step; no other inputs may use it.
        threads: Threads the work may use.

    Returns:
        See `training.loop.train`; both losses are the cross entropy of the next token in nats.

    Raises:
        DrawplateError: If the parent cannot be trained, or training fails.
    """
    options = RecoverOptions.from_config(config)
    torch.set_num_threads(threads)
    model = open_model(parent, "recover", trained=options.training.trained)
    loop = options.training
    token_ids = read_all_windows(
        data, parent / "tokenizer.json", loop.windows, loop.held_out_windows, loop.window_tokens
    )
    held_out = is_held_out(len(token_ids), loop.held_out_windows)
    if options.method == "lora":
        model = with_adapters(model, options)
    facts = train(
        model,
        {"input_ids": token_ids[~held_out]},
        {"input_ids": token_ids[held_out]},
        loop,
        next_token_loss,
        next_token_loss,
        resume_folder,
    )
    if options.method == "lora":
        model = model.merge_and_unload()
    write_model(parent, output, model)
    return facts


def with_adapters(model: Any, options: RecoverOptions) -> Any:
    """The model with low-rank adapters beside every linear layer but the head.

    Args:
        model: Of transformers; its own weights are frozen.
        options: Rank, scale, the seed of the adapters' first weights, and whether only linear
            layers of the MLP blocks get them.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(options.training.seed)
    linear = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=0.0,
        target_modules=[name for name in linear if MLP in name]
        if options.training.trained == "mlp"
        else "all-linear",
    )
    return get_peft_model(model, config)


def next_token_loss(model: Any, batch: Windows) -> Tensor:
    """Mean cross entropy of each next token of a window, in nats.

    Args:
        model: A causal language model.
        batch: `input_ids`, [windows, tokens].
    """
    logits = model(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1]
    loss: Tensor = torch.nn.functional.cross_entropy(
        logits.to(torch.float32).flatten(0, 1), batch["input_ids"][:, 1:].flatten()
    )
    return loss
