"""Quantize every linear layer of any model without data: by rounding to nearest, or by HQQ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drawplate.checkpoint.quantized import Entry, read_float, write_quantized
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.errors import DrawplateError
from drawplate.layerwise.decoder import open_skeleton
from drawplate.limits import check_group_size
from drawplate.progress import progress
from drawplate.quantize.grid import round_to_nearest
from drawplate.quantize.options import QuantizeOptions

HEAD = "lm_head"
UNREAD = ("pooler.",)
"""Of an encoder, what no sentence vector hangs on: they are means of the last hidden states, and
engines leave the rest of the model out."""


def quantize_rtn_checkpoint(parent: Path, output: Path, options: QuantizeOptions) -> None:
    """Quantize one tensor at a time; embeddings become float16, all else stays as it is.

    Args:
        parent: Float checkpoint of any model that transformers knows.
        output: Empty folder to fill with the packed checkpoint.
        options: `bits`, `head_bits`, `group_size` and `symmetric` are used.

    Raises:
        DrawplateError: If the group size does not fit or the model has no linear layers.
    """
    skeleton, tensors = open_skeleton(parent), read_float(parent)
    linear = {name for name, part in skeleton.named_modules() if isinstance(part, nn.Linear)}
    embeddings = {name for name, part in skeleton.named_modules() if isinstance(part, nn.Embedding)}
    if not any(f"{name}.weight" in tensors for name in linear):
        raise DrawplateError(
            f"{parent} holds no linear layer of a {type(skeleton).__name__}",
            "check that architectures in config.json names the class of the weights",
        )

    def entries() -> Iterator[Entry]:
        for full, value in progress(tensors.items(), "round to nearest", unit="tensors"):
            name = full.removesuffix(".weight")
            if name in linear and name != HEAD and full != name and not name.startswith(UNREAD):
                check_group_size(value.shape[1], options.group_size, name)
                yield name, _rounded(value, options.bits, options)
            elif name in embeddings:
                yield full, value.to(torch.float16)
            elif name != HEAD:
                yield full, value
        if HEAD in linear:
            source = HEAD if f"{HEAD}.weight" in tensors else token_table(skeleton)
            yield head_entry(tensors[f"{source}.weight"], options)

    write_quantized(parent, output, entries())


def head_entry(weight: Tensor, options: QuantizeOptions) -> Entry:
    """The output head, rounded to nearest or as a float16 matrix."""
    if options.head_bits == 16:
        return f"{HEAD}.weight", weight.to(torch.float16)
    check_group_size(weight.shape[1], options.group_size, HEAD)
    return HEAD, _rounded(weight, options.head_bits, options)


def _rounded(weight: Tensor, bits: int, options: QuantizeOptions) -> QuantizedTensor:
    """By the method; 4 bits are worth a search for the grid, 8 bits are not."""
    hqq, searched = options.method == "hqq", bits == 4
    return round_to_nearest(weight, bits, options.group_size, options.symmetric, searched, hqq)


def token_table(model: Any) -> str:
    """The dotted name of the embedding of tokens, which a tied head shares."""
    table = model.get_input_embeddings()
    return next(name for name, module in model.named_modules() if module is table)
