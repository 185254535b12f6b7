"""The distill step as a whole: from its config to a finished checkpoint."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.distill.encoder import distill_encoder
from drawplate.distill.hidden import depths, hidden_distance
from drawplate.distill.loss import distillation_loss, top_k_divergence
from drawplate.distill.options import DistillOptions
from drawplate.distill.teacher import read_answers
from drawplate.errors import DrawplateError
from drawplate.training.loop import Windows, train
from drawplate.training.model import open_model, write_model
from drawplate.training.split import read_all_windows


def distill_checkpoint(
    parent: Path,
    data: Path,
    teacher: Path,
    output: Path,
    config: dict[str, Any],
    resume_folder: Path,
    threads: int,
) -> dict[str, Any]:
    """Train all weights of a checkpoint towards a teacher's answers.

    Args:
        parent: The student, a float checkpoint of a causal language model, or of an encoder where
            the loss is `embeddings`.
        data: Folder of the data stage that the teacher read.
        teacher: Folder of the teacher stage.
        output: Empty folder to fill.
        config: Flat fields of `DistillOptions` and `TrainingOptions`.
        resume_folder: Where a killed run finds its kept step; no other inputs may use it.
        threads: Threads the work may use.

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
    model = open_model(parent, "distill")
    answers, temperature = read_answers(teacher)
    _check_answers(parent, data, teacher, answers, temperature, options)
    if options.hidden_weight:
        _check_hidden(parent, model.config, teacher, answers, options)
    else:
        answers.pop("hidden", None)
    held_out = answers.pop("held_out").bool()
    facts = train(
        model,
        {name: tensor[~held_out] for name, tensor in answers.items()},
        {name: tensor[held_out] for name, tensor in answers.items()},
        options.training,
        lambda student, batch: student_loss(student, batch, options),
        lambda student, batch: student_divergence(student, batch, options),
        resume_folder,
    )
    write_model(parent, output, model)
    shutil.rmtree(resume_folder, ignore_errors=True)
    return facts


def student_loss(student: Any, batch: Windows, options: DistillOptions) -> Tensor:
    """What is minimized: the divergence times the squared temperature, and the hidden distance.

    Args:
        student: A causal language model.
        batch: Windows of a teacher's answers.
        options: Temperature and weights.
    """
    outputs = student(
        input_ids=batch["input_ids"],
        use_cache=False,
        output_hidden_states=bool(options.hidden_weight),
    )
    loss = distillation_loss(
        outputs.logits.to(torch.float32),
        batch["top_ids"].to(torch.int64),
        batch["top_log_probs"],
        batch["rest_log_prob"],
        options.temperature,
    )
    if options.hidden_weight:
        wanted = depths(len(outputs.hidden_states) - 1, options.hidden_layers)
        states = torch.stack([outputs.hidden_states[i] for i in wanted], dim=-2)
        loss = loss + options.hidden_weight * hidden_distance(states, batch["hidden"])
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


def _check_answers(
    parent: Path,
    data: Path,
    teacher: Path,
    answers: dict[str, Tensor],
    temperature: float,
    options: DistillOptions,
) -> None:
    """Make sure that the teacher was asked what the student is to learn.

    Raises:
        DrawplateError: If it was another question, other text, or text cut by another tokenizer.
    """
    asked = (temperature, answers["top_ids"].shape[-1], int(answers["held_out"].sum()))
    wanted = (options.temperature, options.top_k, options.training.held_out_windows)
    if asked != wanted:
        raise DrawplateError(
            f"{teacher} holds answers for temperature, top_k, held_out_windows {asked}, "
            f"not {wanted}",
            "build the teacher stage with the options of the distill step",
        )
    token_ids = read_all_windows(
        data,
        parent / "tokenizer.json",
        options.training.windows,
        options.training.held_out_windows,
        options.training.window_tokens,
    )
    if not torch.equal(token_ids, answers["input_ids"]):
        raise DrawplateError(
            f"{teacher} holds answers for other tokens than {parent} reads in {data}",
            "teacher and student need one tokenizer, the same windows and the same data",
        )


def _check_hidden(
    parent: Path, config: Any, teacher: Path, answers: dict[str, Tensor], options: DistillOptions
) -> None:
    """Make sure that hidden states can be compared.

    Raises:
        DrawplateError: If they differ in size or number.
    """
    if "hidden" not in answers or answers["hidden"].shape[-2] != options.hidden_layers:
        raise DrawplateError(
            f"{teacher} does not hold hidden states of {options.hidden_layers} depths",
            "build the teacher stage with the hidden_layers of the distill step",
        )
    size = answers["hidden"].shape[-1]
    if size != config.hidden_size:
        raise DrawplateError(
            f"hidden states of {teacher} have {size} channels, those of {parent} "
            f"{config.hidden_size}",
            "set hidden_weight: 0",
        )
    if options.hidden_layers > config.num_hidden_layers:
        raise DrawplateError(
            f"hidden_layers {options.hidden_layers} is more than the {config.num_hidden_layers} "
            f"layers of {parent}",
            "lower hidden_layers",
        )
