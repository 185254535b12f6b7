"""Calibration windows, parted into those to learn from and those to measure on."""

from pathlib import Path

import torch
from torch import Tensor

from drawplate.layerwise.calibration import read_windows

CALIBRATION = Path("texts", "calibration.jsonl")


def read_all_windows(
    data: Path, tokenizer: Path, windows: int, held_out_windows: int, window_tokens: int
) -> Tensor:
    """Every window a training needs, int64 [windows + held_out_windows, window_tokens].

    Args:
        data: Folder of the data stage.
        tokenizer: The model's tokenizer.json.
        windows: How many to learn from.
        held_out_windows: How many to measure on.
        window_tokens: Tokens of each.

    Raises:
        DrawplateError: If there is too little text.
    """
    return read_windows(data / CALIBRATION, tokenizer, windows + held_out_windows, window_tokens)


def is_held_out(total: int, held_out: int) -> Tensor:
    """Which of `total` windows are kept apart: the middle one of each equal stretch, bool [total].

    Spread over all the text, so that each of its sources has its share of the measure.
    """
    mask = torch.zeros(total, dtype=torch.bool)
    mask[(2 * torch.arange(held_out) + 1) * total // (2 * held_out)] = True
    return mask
