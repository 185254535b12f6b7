"""The steps of a build on a GPU, each by the library's own functions, each with a result to check."""

import time
from typing import Any

import torch
from torch import Tensor

from drawplate.distill.loss import distillation_loss
from drawplate.gpucheck.model import Decoder, Sizes
from drawplate.layerwise.moments import second_moment
from drawplate.layerwise.workers import workers
from drawplate.prune.keep import keep_best
from drawplate.prune.scores import channel_importance, channel_magnitude
from drawplate.quantize.gptq import inverse_factor, output_error, quantize_gptq

TOP_K = 64
WINDOW_TOKENS = 256


def synchronized(device: torch.device) -> float:
    """The time in seconds when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def distill(device: torch.device, sizes: Sizes, steps: int, batch: int) -> dict[str, Any]:
    """Let a student of half the layers learn a teacher's answers to random tokens.

    Returns:
        `loss_before` and `loss_after` (nats), `improved`, `tokens_per_s`, `precision`.
    """
    torch.manual_seed(0)
    teacher = Decoder(sizes).to(device).eval()
    student = Decoder(Sizes(**{**vars(sizes), "layers": max(1, sizes.layers // 2)})).to(device)
    student.embedding.load_state_dict(teacher.embedding.state_dict())
    for own, other in zip(student.layers, teacher.layers[::2], strict=False):
        own.load_state_dict(other.state_dict())
    ids = torch.randint(sizes.vocabulary, (batch, WINDOW_TOKENS), device=device)
    with torch.no_grad():
        logs = teacher(ids)[0].float().log_softmax(-1)
    top = logs.topk(min(TOP_K, sizes.vocabulary - 1), dim=-1)
    rest = torch.log1p(-top.values.exp().sum(-1).clamp(max=1 - 1e-6))
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    losses, started = [], synchronized(device)
    for _ in range(steps):
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = student(ids)[0]
        loss = distillation_loss(logits.float(), top.indices, top.values, rest, 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    seconds = synchronized(device) - started
    first, last = float(losses[0]), float(losses[-1])
    return {
        "loss_before": first,
        "loss_after": last,
        "improved": last < first,
        "steps": steps,
        "tokens_per_s": steps * ids.numel() / seconds,
        "precision": "bfloat16" if half else "float32",
    }


def prune(device: torch.device, sizes: Sizes, share: float = 0.25) -> dict[str, Any]:
    """Leave out a share of an MLP's channels, chosen by activations and by weights alone.

    Returns:
        `error_by_activation` and `error_by_magnitude` (of the output's mean square), `improved`,
        `same_choice_as_cpu`.
    """
    torch.manual_seed(0)
    layer = Decoder(sizes).to(device).layers[0]
    inputs = torch.randn(2048, sizes.hidden, device=device)
    with torch.no_grad():
        # Some channels speak more often than others, as in trained models.
        layer.up.weight.mul_(torch.rand(sizes.mlp, 1, device=device) * 2)
        layer.down.weight.mul_(torch.rand(sizes.mlp, device=device) * 2)
        channels = layer.channels(inputs)
        squares = channels.square().mean(0, dtype=torch.float64)
    scores = {
        "activation": channel_importance(squares, layer.down.weight.detach()),
        "magnitude": channel_magnitude(
            *(m.weight.detach() for m in (layer.gate, layer.up, layer.down))
        ),
    }
    count = round(sizes.mlp * (1 - share))
    errors = {}
    for name, values in scores.items():
        lost = torch.ones(sizes.mlp, dtype=torch.bool, device=device)
        lost[keep_best(values, count)] = False
        gone = channels[:, lost] @ layer.down.weight.detach()[:, lost].t()
        whole = channels @ layer.down.weight.detach().t()
        errors[name] = float(gone.square().mean() / whole.square().mean())
    on_cpu = channel_importance(squares.cpu(), layer.down.weight.detach().cpu())
    same = torch.equal(keep_best(on_cpu, count), keep_best(scores["activation"], count).cpu())
    return {
        "error_by_activation": errors["activation"],
        "error_by_magnitude": errors["magnitude"],
        "improved": errors["activation"] <= errors["magnitude"],
        "same_choice_as_cpu": same,
    }


def quantize(device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """Quantize a matrix to INT4 by GPTQ, on the device and on the processor.

    Returns:
        `error`, `error_on_cpu` (of the output, as a share of its square), `error_rounded` (without
        GPTQ's corrections), `improved`, `seconds`, `seconds_on_cpu`.
    """
    torch.manual_seed(0)
    # Inputs that are correlated, as hidden states are: without, there is nothing to correct with.
    mixing = torch.randn(sizes.hidden, sizes.hidden) / sizes.hidden**0.5
    inputs = torch.randn(4, 512, sizes.hidden) @ (mixing + torch.eye(sizes.hidden))
    weight = torch.randn(sizes.mlp, sizes.hidden) / sizes.hidden**0.5

    def run(place: torch.device, shrinkage: float) -> tuple[float, float]:
        started = synchronized(place)
        with workers(1) as pool, torch.no_grad():
            moment = second_moment(list(inputs.to(place)), pool)
            factor = inverse_factor(moment, shrinkage, pool)
            packed = quantize_gptq(weight.to(place), factor, 4, 32, symmetric=False)
            seconds = synchronized(place) - started
            hessian = moment.float()
            whole = ((weight.to(place) @ hessian) * weight.to(place)).sum()
            return output_error(weight.to(place), packed, hessian) / float(whole), seconds

    (error, seconds), (expected, on_cpu) = run(device, 0.4), run(torch.device("cpu"), 0.4)
    rounded, _ = run(device, 1.0)
    return {
        "error": error,
        "error_on_cpu": expected,
        "error_rounded": rounded,
        "improved": error < rounded and abs(error - expected) < 0.02 * expected,
        "seconds": seconds,
        "seconds_on_cpu": on_cpu,
    }


def greedy(model: Decoder, ids: Tensor, new: int) -> tuple[Tensor, list[float]]:
    """Greedy tokens [batch, new], and when each was there: seconds since the start."""
    started, times, chosen = synchronized(ids.device), [], []
    with torch.no_grad():
        logits, cache = model(ids)
        for _ in range(new):
            chosen.append(logits[:, -1].argmax(-1, keepdim=True))
            times.append(synchronized(ids.device) - started)
            logits, cache = model(chosen[-1], cache)
    return torch.cat(chosen, dim=1), times
