"""The model of a checkpoint, read for training and written back under the names it had."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json
from drawplate.checkpoint.files import copy_companions, open_tensors, write_shards
from drawplate.engines.task import CAUSAL_LM, ENCODER, architecture, task_of
from drawplate.errors import DrawplateError

MLP = ".mlp."  # in the names of the weights of Llama, Qwen, Mistral, Gemma, Phi, GPT-2


def open_model(folder: Path, step: str, task: str = CAUSAL_LM, trained: str = "all") -> Any:
    """A model of transformers with its weights in float32; an encoder without its pooler.

    Args:
        folder: Float checkpoint.
        step: What the model is for, named in refusals.
        task: What it must be, `causal-lm` or `encoder`.
        trained: See `TrainingOptions`; all other weights are frozen.

    Raises:
        DrawplateError: If the checkpoint is quantized, of another task, lacks weights, is of a
            class that transformers does not have, or has no such weights to train.
    """
    import transformers

    if read_json(folder / "config.json").get("quantization_config"):
        raise DrawplateError(
            f"{folder} is quantized already", f"put the {step} step before the quantize step"
        )
    if task_of(folder) != task:
        others = {CAUSAL_LM: f"{folder} is an encoder", ENCODER: f"{folder} is no encoder"}
        raise DrawplateError(
            others[task], f"leave the {step} step out, or distill with the loss of its task"
        )
    kind = getattr(transformers, architecture(folder), None)
    if kind is None:
        raise DrawplateError(
            f"transformers {transformers.__version__} has no model class {architecture(folder)}",
            "use a model that transformers supports without remote code",
        )
    transformers.utils.logging.disable_progress_bar()  # progress is told in lines
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    if task == ENCODER:  # nothing reads the pooler: it is copied as it is, if there is one
        safe["add_pooling_layer"] = False
    said = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # what is missing is told below
    model, loading = kind.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, **safe
    )
    transformers.utils.logging.set_verbosity(said)
    if loading["missing_keys"]:  # transformers would train random numbers in their place
        raise DrawplateError(
            f"{folder} lacks the weights {', '.join(sorted(loading['missing_keys'])[:3])}",
            "delete the folder and build again",
        )
    if trained == "mlp":
        if not any(MLP in name for name, _ in model.named_parameters()):
            raise DrawplateError(f"{folder} has no weights named mlp", "write trained: all")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(MLP in name)
    return model


def write_model(parent: Path, output: Path, model: Any) -> None:
    """Write trained weights as a checkpoint that differs from its parent in nothing else.

    Names, order and dtypes of the tensors are the parent's; a tensor that the model does not know
    is copied; a head tied to the embedding is stored once. config.json and all that stands beside
    the weights are copied byte by byte.

    Args:
        parent: The checkpoint the model was read from.
        output: Empty folder to fill.
        model: The model of transformers, without adapters.

    Raises:
        DrawplateError: If the parent stores a weight under a name of its own, which transformers
            translated; the trained weight would have been lost.
    """
    stored = open_tensors(parent)
    strangers = [name for name, _ in model.named_parameters() if name not in stored]
    if strangers:
        raise DrawplateError(
            f"{parent} has no tensor named {strangers[0]}, which {type(model).__name__} trains",
            "save the base with save_pretrained of the installed transformers first",
        )

    def trained() -> Iterator[tuple[str, Tensor]]:
        weights, written = model.state_dict(), set()
        for name in stored:
            before = stored[name]
            if name not in weights:
                yield name, before
            elif weights[name].data_ptr() not in written:
                written.add(weights[name].data_ptr())
                yield name, weights[name].detach().to("cpu", before.dtype).contiguous()

    write_shards(output, trained())
    copy_companions(parent, output)
    shutil.copyfile(parent / "config.json", output / "config.json")
