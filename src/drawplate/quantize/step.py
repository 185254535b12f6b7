"""The quantize step as a whole: from its config to a finished checkpoint."""

from pathlib import Path
from typing import Any

from drawplate.checkpoint.quantized import is_quantized
from drawplate.engines.task import is_encoder
from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_encoder_windows, read_windows
from drawplate.quantize.encoder import quantize_encoder_checkpoint
from drawplate.quantize.losses import Measured
from drawplate.quantize.options import QuantizeOptions
from drawplate.quantize.rtn import quantize_rtn_checkpoint
from drawplate.quantize.walk import quantize_gptq_checkpoint

CALIBRATION = Path("texts", "calibration.jsonl")


def quantize_checkpoint(
    parent: Path,
    data: Path,
    output: Path,
    config: dict[str, Any],
    resume_folder: Path,
    threads: int,
) -> tuple[dict[str, str], Measured]:
    """Quantize a checkpoint as a step's config says.

    Args:
        parent: Float checkpoint.
        data: Folder of the data stage; method `gptq` reads its calibration texts.
        output: Empty folder to fill.
        config: Fields of `QuantizeOptions`, and `kind`.
        resume_folder: Where a killed walk finds its finished layers; no other inputs may use it.
        threads: Threads the work may use.

    Returns:
        The form of each unit where there are units, see `allot.Form`, else nothing; and what a walk
        measured of each unit, see `losses.Measured`.

    Raises:
        DrawplateError: If the parent is quantized already, or does not fit the method or the
            group size.
    """
    options = QuantizeOptions.from_config(config)
    if is_quantized(parent):
        raise DrawplateError(
            f"{parent} is quantized already", "put one quantize step in a recipe, the last one"
        )
    if options.activations != "none" or (options.method == "gptq" and is_encoder(parent)):
        return _quantize_encoder(parent, data, output, options, resume_folder, threads)
    if options.method != "gptq":
        quantize_rtn_checkpoint(parent, output, options)
        return {}, {}
    windows = read_windows(
        data / CALIBRATION, parent / "tokenizer.json", options.windows, options.window_tokens
    )
    return quantize_gptq_checkpoint(parent, output, options, windows, resume_folder, threads)


def _quantize_encoder(
    parent: Path,
    data: Path,
    output: Path,
    options: QuantizeOptions,
    resume_folder: Path,
    threads: int,
) -> tuple[dict[str, str], Measured]:
    """What only encoders have: a walk of their own, and rounded activations."""
    if not is_encoder(parent):
        raise DrawplateError(
            f"{parent} is no encoder; activations are rounded for encoders only",
            "write activations: none",
        )
    windows = read_encoder_windows(
        data / CALIBRATION, parent / "tokenizer.json", options.windows, options.window_tokens
    )
    return quantize_encoder_checkpoint(parent, output, options, windows, resume_folder, threads)
