"""The distill step as a whole: from its config to a finished checkpoint."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.distill.ancestry import kept_layers
from drawplate.distill.check import check_answers, check_hidden, check_vocabulary
from drawplate.distill.encoder import distill_encoder
from drawplate.distill.hidden import hidden_distance, layer_map
from drawplate.distill.loss import distillation_loss, top_k_divergence
from drawplate.distill.on_policy import continued, is_on_policy
from drawplate.distill.options import DistillOptions
from drawplate.distill.teacher import answer, read_answers
from drawplate.errors import DrawplateError
from drawplate.training.loop import PLACE, Windows, train
from drawplate.training.model import open_model, write_model

Pairs = list[tuple[int, int]]


def distill_checkpoint(
    parent: Path,
    data: Path,
    teacher: Path,
    output: Path,
    config: dict[str, Any],
    resume_folder: Path,
    threads: int,
    live_teacher: Path | None = None,
) -> dict[str, Any]:
    """Train a checkpoint towards a teacher's answers.

    Args:
        parent: The student, a float checkpoint of a causal language model, or of an encoder where
            the loss is `embeddings`.
        data: Folder of the data stage that the teacher read.
        teacher: Folder of the teacher stage.
        output: Empty folder to fill.
        config: Flat fields of `DistillOptions` and `TrainingOptions`.
        resume_folder: Where a killed run finds its kept step; no other inputs may use it.
        threads: Threads the work may use.
        live_teacher: The teacher's checkpoint; read only if `on_policy_share` is not 0.

    Returns:
        See `training.loop.train`. The held-out loss is the divergence from the teacher at the
        temperature, in nats; the training loss is that times its square, and the weighted
        distance of hidden states.

    Raises:
        DrawplateError: If student, teacher and options do not fit each other, or training fails.
    """
    options = DistillOptions.from_config(config)
    torch.set_num_threads(threads)
    if options.loss == "embeddings":
        return distill_encoder(parent, data, teacher, output, options, resume_folder)
    answers, metadata = read_answers(teacher)
    model = open_model(parent, "distill", trained=options.training.trained)
    check_vocabulary(parent, metadata["vocabulary_sha256"], options.teacher)
    check_answers(parent, data, teacher, answers, float(metadata["temperature"]), options)
    pairs: Pairs = []
    if options.hidden_weight:
        check_hidden(parent, model.config, teacher, answers, options)
        kept = kept_layers(parent, options.teacher, model.config.num_hidden_layers)
        pairs = layer_map(model.config.num_hidden_layers, options.hidden_layers, kept)
    else:
        answers.pop("hidden", None)
    judge = open_judge(live_teacher) if options.on_policy_share else None
    held_out = answers.pop("held_out").bool()
    facts = train(
        model,
        {name: tensor[~held_out] for name, tensor in answers.items()},
        {name: tensor[held_out] for name, tensor in answers.items()},
        options.training,
        lambda student, batch: batch_loss(student, batch, options, pairs, judge),
        lambda student, batch: student_divergence(student, batch, options),
        resume_folder,
    )
    write_model(parent, output, model)
    return facts


def open_judge(folder: Path | None) -> Any:
    """A teacher that answers while its student learns, its weights frozen.

    Raises:
        DrawplateError: If there is none.
    """
    if folder is None:
        raise DrawplateError(
            "on_policy_share needs the teacher itself, its kept answers are of other text",
            "give its checkpoint as --live-teacher",
        )
    teacher = open_model(folder, "distill").eval().requires_grad_(False)
    return teacher.to("cuda" if torch.cuda.is_available() else "cpu")


def batch_loss(
    student: Any, batch: Windows, options: DistillOptions, pairs: Pairs, judge: Any
) -> Tensor:
    """The loss on a batch of the text, or on the student's own continuations of it.

    Args:
        student: A causal language model.
        batch: Windows of a teacher's answers, with their `PLACE`.
        options: See `DistillOptions`.
        pairs: See `hidden.layer_map`.
        judge: The teacher, if any batch is on-policy.
    """
    place = int(batch[PLACE][0])
    if not is_on_policy(place // options.training.batch_windows, options.on_policy_share):
        return student_loss(student, batch, options, pairs)
    told = options.on_policy_prompt_tokens
    length = batch["input_ids"].shape[1]
    # One seed a place: parts of one batch, and runs with neighbouring seeds, draw differently.
    seed = (options.training.seed << 32) + place
    depths = options.hidden_layers if options.hidden_weight else 0
    half = options.training.precision == "bfloat16"
    # Around all of it, so that weights are turned into bfloat16 once and not for every token.
    with torch.autocast(batch["input_ids"].device.type, torch.bfloat16, enabled=half):
        windows = continued(student, batch["input_ids"][:, :told], length, seed)
        said = answer(judge, windows, options.temperature, options.top_k, depths)
    # What is predicted from the prompt's last token on was the student's to choose.
    said = {name: tensor[:, told - 1 :] for name, tensor in said.items()}
    return student_loss(student, {"input_ids": windows, **said}, options, pairs)


def student_loss(student: Any, batch: Windows, options: DistillOptions, pairs: Pairs) -> Tensor:
    """What is minimized: the divergence times the squared temperature, and the hidden distance.

    Args:
        student: A causal language model.
        batch: Windows, and a teacher's answers at their last so many positions.
        options: Temperature and weights.
        pairs: See `hidden.layer_map`.
    """
    judged = batch["top_ids"].shape[1]
    outputs = student(
        input_ids=batch["input_ids"],
        use_cache=False,
        output_hidden_states=bool(options.hidden_weight),
    )
    loss = distillation_loss(
        outputs.logits[:, -judged:].to(torch.float32),
        batch["top_ids"].to(torch.int64),
        batch["top_log_probs"],
        batch["rest_log_prob"],
        options.temperature,
    )
    if options.hidden_weight:
        own, theirs = zip(*pairs, strict=True)
        states = torch.stack([outputs.hidden_states[i][:, -judged:] for i in own], dim=-2)
        wanted = batch["hidden"][..., list(theirs), :]
        loss = loss + options.hidden_weight * hidden_distance(states, wanted)
    return loss


def student_divergence(student: Any, batch: Windows, options: DistillOptions) -> Tensor:
    """What is measured: the mean divergence from the teacher at the temperature, in nats."""
    logits = student(input_ids=batch["input_ids"], use_cache=False).logits.to(torch.float32)
    return top_k_divergence(
        logits / options.temperature,
        batch["top_ids"].to(torch.int64),
        batch["top_log_probs"],
        batch["rest_log_prob"],
    ).mean()
