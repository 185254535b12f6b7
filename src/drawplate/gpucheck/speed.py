"""Speeds of a device: products, memory, and a decoder's prefill and decoding."""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from drawplate.gpucheck.model import Decoder, Sizes
from drawplate.gpucheck.steps import greedy, synchronized

Spread = dict[str, float | int]


def spread(values: list[float]) -> Spread:
    """Median, range and count."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "repeats": len(values),
    }


def products(device: torch.device, size: int, repeats: int) -> dict[str, Spread | None]:
    """Products of square matrices by dtype, floating-point operations a second; None if it has none."""
    found: dict[str, Spread | None] = {}
    for name in ("float32", "bfloat16", "float16"):
        if name == "float16" and device.type == "cpu":
            found[name] = None  # emulated, at length
            continue
        one = torch.randn(size, size, device=device).to(getattr(torch, name))
        found[name] = _rates(device, repeats, 2.0 * size**3, lambda m=one: m @ m)  # type: ignore[misc]
    return found


def bandwidth(device: torch.device, read_bytes: int, repeats: int) -> Spread:
    """Bytes a second at which the device reads its memory: the sum of an array."""
    array = torch.ones(read_bytes // 4, device=device)
    return _rates(device, repeats, read_bytes, array.sum)


def decoder(
    device: torch.device, sizes: Sizes, prompt: int, new: int, repeats: int
) -> dict[str, Any]:
    """Tokens a second of prefill and decoding at batch 1 and 8, by PyTorch's own kernels."""
    torch.manual_seed(0)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    model = Decoder(sizes).to(device, dtype).eval()
    result: dict[str, Any] = {"dtype": str(dtype).removeprefix("torch.")}
    for batch in (1, 8):
        ids = torch.randint(sizes.vocabulary, (batch, prompt), device=device)
        greedy(model, ids, 2)
        times = [greedy(model, ids, new)[1] for _ in range(repeats)]
        decoded = [batch * (new - 1) / (row[-1] - row[0]) for row in times]
        result[f"batch_{batch}"] = {
            "prefill_tokens_per_s": spread([batch * prompt / row[0] for row in times]),
            "decode_tokens_per_s": spread(decoded),
            "time_to_first_token_ms": spread([1000 * row[0] for row in times]),
        }
    if device.type == "cuda":
        result["peak_gpu_bytes"] = torch.cuda.max_memory_allocated(device)
    return result


def _rates(device: torch.device, repeats: int, amount: float, work: Callable[[], object]) -> Spread:
    rates = []
    for _ in range(repeats + 1):  # the first warms up
        started = synchronized(device)
        work()
        rates.append(amount / (synchronized(device) - started))
    return spread(rates[1:])
