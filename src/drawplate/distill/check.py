"""Whether a student and a teacher's answers fit each other, asked before anything is trained."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.distill.options import DistillOptions
from drawplate.errors import DrawplateError
from drawplate.limits import check_depths
from drawplate.training.split import read_all_windows


def vocabulary_sha256(folder: Path) -> str:
    """SHA-256 of a tokenizer's tokens and their ids, however its file is written."""
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    return hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode()).hexdigest()


def check_vocabulary(student: Path, teacher_sha256: str, teacher: str) -> None:
    """Make sure that a token id means the same to both.

    Raises:
        DrawplateError: If the student has another tokenizer than its teacher.
    """
    if vocabulary_sha256(student) != teacher_sha256:
        raise DrawplateError(
            f"{student} has another tokenizer than its teacher {teacher}",
            "distill into a student of the teacher's own family",
        )


def check_answers(
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


def check_hidden(
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
    check_depths(options.hidden_layers, config.num_hidden_layers, str(parent))
