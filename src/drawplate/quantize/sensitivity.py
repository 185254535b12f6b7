"""How much the loss rises if one unit of a decoder is rounded.

To second order a change dW of a layer's weights raises the loss by half the mean of `(g . dW x)^2`
over tokens, with x the layer's input and g the gradient of the loss with respect to its output: the
Fisher information of the model's own predictions along dW, which is the Kullback-Leibler divergence
from the unchanged model to second order (Martens, "New insights and perspectives on the natural
gradient method", 2020, section 5). One forward and one backward pass give it for all units and
forms. Both go layer by layer; the backward pass computes each layer anew from its stored input.
"""

import copy
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from drawplate.errors import DrawplateError
from drawplate.layerwise.decoder import UNITS, Decoder
from drawplate.layerwise.workers import Workers
from drawplate.progress import progress
from drawplate.quantize.allot import Form, Unit
from drawplate.quantize.grid import round_to_nearest
from drawplate.quantize.rtn import HEAD

VOCABULARY_ROWS = 8192
"""Rows of the head computed together. Fixed, so that no number of threads changes the result."""
Record = dict[str, tuple[Tensor, Tensor]]


def measure_harm(
    decoder: Decoder,
    windows: Tensor,
    forms: list[Form],
    symmetric: bool,
    seed: int,
    folder: Path,
    pool: Workers,
) -> list[Unit]:
    """Expected harm of rounding every unit of every decoder layer, and the head, to each form.

    Args:
        decoder: The float model.
        windows: Token ids [windows, tokens].
        forms: What units may be rounded to.
        symmetric: Whether grids have no zero points.
        seed: Of the labels, which are drawn from the model's own predictions.
        folder: Where the inputs of the layers wait for the backward pass.
        pool: Where windows are computed.

    Raises:
        DrawplateError: If the model does more with its head than multiply with it.
    """
    if decoder.scales_logits(windows[:1]):
        raise DrawplateError(
            f"{type(decoder.skeleton).__name__} scales its logits, which sensitivities do not know",
            "write null for the budget",
        )
    folder.mkdir(parents=True, exist_ok=True)
    positions = decoder.positions(windows.shape[1])
    hidden = list(decoder.embed(windows).split(1))
    for index in progress(range(decoder.layers), "sensitivity, forward", unit="layers"):
        save_file({"hidden": torch.cat(hidden)}, folder / f"inputs-{index}")
        run = functools.partial(_run, decoder.layer(index), positions)
        hidden = pool.map(run, hidden)
    gradients, head = _top(decoder, torch.cat(hidden), forms, symmetric, seed, pool)
    units = [head]
    for index in progress(
        range(decoder.layers - 1, -1, -1), "sensitivity, backward", unit="layers"
    ):
        layer, place = decoder.layer(index), folder / f"inputs-{index}"
        inputs = load_file(place)["hidden"].split(1)
        backward = functools.partial(_backward, layer, positions)
        results = pool.map(backward, zip(inputs, gradients, strict=True))
        gradients = [gradient for gradient, _ in results]
        harms = _harms(layer, [record for _, record in results], forms, symmetric, pool)
        for name, modules in UNITS.items():
            weights = sum(layer.get_submodule(module).weight.numel() for module in modules)
            units.append(Unit(f"{decoder.prefix}{index}.{name}", weights, harms[name]))
        place.unlink()
    return units


def _run(layer: Any, positions: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
    output: Tensor = layer(hidden, position_embeddings=positions, attention_mask=None)
    return output


def _top(
    decoder: Decoder, hidden: Tensor, forms: list[Form], symmetric: bool, seed: int, pool: Workers
) -> tuple[list[Tensor], Unit]:
    """Gradients at the last layer's output, window by window, and the head as a unit."""
    with torch.enable_grad():
        leaf = hidden.requires_grad_()
        normed = decoder.final_norm()(leaf)
    head = decoder.head_weight().split(VOCABULARY_ROWS)
    states = normed.detach().flatten(0, 1)
    labels, scale = draw_labels(states, head, seed, pool)
    gradient, changes = head_gradient(states, head, labels, scale, forms, symmetric, pool)
    with torch.enable_grad():
        normed.backward(gradient.view_as(normed))
    assert leaf.grad is not None
    harms = {form: 0.5 * float(change.square().mean()) for form, change in changes.items()}
    weights = sum(rows.numel() for rows in head)
    return list(leaf.grad.split(1)), Unit(HEAD, weights, harms)


def draw_labels(
    states: Tensor, head: tuple[Tensor, ...], seed: int, pool: Workers
) -> tuple[Tensor, Tensor]:
    """A next token for every state, drawn from the model's own prediction, by the Gumbel trick.

    Args:
        states: What the head reads, float32 [tokens, hidden].
        head: The output head in chunks of rows [rows, hidden].
        seed: Of the draws.
        pool: Where chunks are computed.

    Returns:
        Token ids [tokens], and the logarithm of the sum of the exponentials of the logits [tokens].
    """

    def chunk(numbered: tuple[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        number, rows = numbered
        logits = states @ rows.to(torch.float32).t()
        uniform = torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed + number))
        noisy = logits - uniform.clamp_(min=1e-30).log_().neg_().log_()
        best = noisy.max(-1)
        return best.values, best.indices + number * len(head[0]), logits.logsumexp(-1)

    values, indices, scales = zip(*pool.map(chunk, enumerate(head)), strict=True)
    winner = torch.stack(values).argmax(0, keepdim=True)
    labels = torch.stack(indices).gather(0, winner)[0]
    return labels, torch.stack(scales).logsumexp(0)


def head_gradient(
    states: Tensor,
    head: tuple[Tensor, ...],
    labels: Tensor,
    scale: Tensor,
    forms: list[Form],
    symmetric: bool,
    pool: Workers,
) -> tuple[Tensor, dict[Form, Tensor]]:
    """Gradient of each token's loss with respect to its state, and its change if the head is rounded.

    Args:
        states: What the head reads, float32 [tokens, hidden].
        head: The output head in chunks of rows [rows, hidden].
        labels: Token ids [tokens].
        scale: Logarithm of the sum of the exponentials of the logits [tokens].
        forms: What the head may be rounded to.
        symmetric: Whether grids have no zero points.
        pool: Where chunks are computed.

    Returns:
        Gradients [tokens, hidden], and for each form the first-order change of the loss [tokens].
    """

    def chunk(numbered: tuple[int, Tensor]) -> tuple[Tensor, list[Tensor]]:
        number, stored = numbered
        rows, first = stored.to(torch.float32), number * len(head[0])
        slopes = (states @ rows.t()).sub_(scale.unsqueeze(-1)).exp_()
        here = ((labels >= first) & (labels < first + len(rows))).nonzero()[:, 0]
        slopes[here, labels[here] - first] -= 1
        changes = [
            ((slopes @ (_rounded(rows, form, symmetric) - rows)) * states).sum(-1) for form in forms
        ]
        return slopes @ rows, changes

    gradient = torch.zeros_like(states)
    totals = {form: torch.zeros(len(states)) for form in forms}
    for part, changes in pool.map(chunk, enumerate(head)):
        gradient += part
        for form, change in zip(forms, changes, strict=True):
            totals[form] += change
    return gradient, totals


def _rounded(weight: Tensor, form: Form, symmetric: bool) -> Tensor:
    # A search of 8-bit grids takes as long as one of 4-bit grids and finds next to nothing.
    searched = form.bits < 8
    rounded = round_to_nearest(weight, form.bits, form.group_size, symmetric, searched)
    return rounded.dequantize()


def _backward(
    layer: Any, positions: tuple[Tensor, Tensor], state_and_gradient: tuple[Tensor, Tensor]
) -> tuple[Tensor, Record]:
    """Gradient at a layer's input; input of every linear layer, and gradient at its output."""
    state, gradient = state_and_gradient
    records: dict[str, tuple[Tensor, Tensor]] = {}

    def record(module: str) -> Any:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            output.retain_grad()
            records[module] = (arguments[0].detach(), output)

        return hook

    with torch.enable_grad():
        # Hooks of its own for each thread, on weights that all threads share.
        twin = copy.deepcopy(layer, {id(weight): weight for weight in layer.parameters()})
        for module in (module for modules in UNITS.values() for module in modules):
            twin.get_submodule(module).register_forward_hook(record(module))
        leaf = state.detach().requires_grad_()
        _run(twin, positions, leaf).backward(gradient)
    assert leaf.grad is not None
    return leaf.grad, {
        name: (inputs, _gradient_of(output)) for name, (inputs, output) in records.items()
    }


def _gradient_of(output: Tensor) -> Tensor:
    assert output.grad is not None
    return output.grad


def _harms(
    layer: nn.Module, records: list[Record], forms: list[Form], symmetric: bool, pool: Workers
) -> dict[str, Mapping[Form, float]]:
    """Expected harm of every form to every unit of a layer; one form's errors at a time."""
    harms: dict[str, dict[Form, float]] = {name: {} for name in UNITS}
    for form in forms:
        for name, modules in UNITS.items():
            weights = [layer.get_submodule(module).weight for module in modules]
            errors = pool.map(lambda w, f=form: _rounded(w, f, symmetric) - w, weights)  # type: ignore[misc]
            changes = functools.partial(_changes, dict(zip(modules, errors, strict=True)))
            squares = [change.square().mean() for change in pool.map(changes, records)]
            harms[name][form] = 0.5 * float(torch.stack(squares).mean())
    return dict(harms)


def _changes(errors: Mapping[str, Tensor], record: Record) -> Tensor:
    """Every token's change of loss if these linear layers change by these errors."""

    def parts() -> Iterator[Tensor]:
        for module, error in errors.items():
            inputs, gradient = record[module]
            yield ((inputs @ error.t()) * gradient).sum(-1).flatten()

    return torch.stack(list(parts())).sum(0)
