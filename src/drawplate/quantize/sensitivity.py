"""How much the loss rises if one unit of a decoder is rounded to 4 bits.

To second order a change dW of a layer's weights raises the loss by half the mean of `(g . dW x)^2`
over tokens, with x the layer's input and g the gradient of the loss with respect to its output: the
Fisher information of the model's own predictions along dW (Martens, "New insights and perspectives
on the natural gradient method", 2020, section 5). One forward and one backward pass give it for all
units. Both go layer by layer; the backward pass computes each layer anew from its stored input.
"""

import copy
import functools
from typing import Any

import torch
from torch import Tensor, nn

from drawplate.layerwise.decoder import UNITS, Decoder
from drawplate.layerwise.workers import Workers
from drawplate.progress import progress
from drawplate.quantize.allot import Unit
from drawplate.quantize.grid import round_to_nearest


def measure_harm(
    decoder: Decoder,
    windows: Tensor,
    group_size: int,
    symmetric: bool,
    seed: int,
    pool: Workers,
) -> list[Unit]:
    """Expected harm of 4 bits to every unit of every decoder layer.

    Args:
        decoder: The float model.
        windows: Token ids [windows, tokens].
        group_size: Of the 4-bit grid.
        symmetric: Of the 4-bit grid.
        seed: Of the labels, which are drawn from the model's own predictions.
        pool: Where windows are computed.
    """
    positions = decoder.positions(windows.shape[1])
    hidden = list(decoder.embed(windows).split(1))
    inputs = []
    for index in progress(range(decoder.layers), "sensitivity, forward", unit="layers"):
        inputs.append(list(hidden))
        run = functools.partial(_run, decoder.layer(index), positions)
        hidden = pool.map(run, hidden)
    gradients = _gradients_at_the_top(decoder, hidden, seed, pool)
    units = []
    for index in progress(
        range(decoder.layers - 1, -1, -1), "sensitivity, backward", unit="layers"
    ):
        layer = decoder.layer(index)
        rounding = _rounding_errors(layer, group_size, symmetric, pool)
        backward = functools.partial(_backward, layer, positions, rounding)
        results = pool.map(backward, zip(inputs.pop(), gradients, strict=True))
        gradients = [gradient for gradient, _ in results]
        for name, modules in UNITS.items():
            weights = sum(layer.get_submodule(module).weight.numel() for module in modules)
            squares = torch.stack([changes[name].square().mean() for _, changes in results])
            harm = 0.5 * float(squares.mean())
            units.append(Unit(f"{decoder.prefix}{index}.{name}", weights, harm))
    return units


def _run(layer: Any, positions: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
    output: Tensor = layer(hidden, position_embeddings=positions, attention_mask=None)
    return output


def _gradients_at_the_top(
    decoder: Decoder, hidden: list[Tensor], seed: int, pool: Workers
) -> list[Tensor]:
    """Gradient of each token's loss with respect to the last layer's output, window by window."""
    norm, head = decoder.final_norm(), decoder.head_weight()

    def gradient(numbered: tuple[int, Tensor]) -> Tensor:
        number, state = numbered
        generator = torch.Generator().manual_seed(seed + number)
        with torch.enable_grad():
            leaf = state.detach().requires_grad_()
            logits = nn.functional.linear(norm(leaf)[0], head)
            labels = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)
            nn.functional.cross_entropy(logits, labels[:, 0], reduction="sum").backward()
        assert leaf.grad is not None
        return leaf.grad

    return pool.map(gradient, enumerate(hidden))


def _rounding_errors(
    layer: nn.Module, group_size: int, symmetric: bool, pool: Workers
) -> dict[str, Tensor]:
    """What rounding to 4 bits changes in each linear weight of a layer, by module name."""

    def error(module: str) -> tuple[str, Tensor]:
        weight = layer.get_submodule(module).weight.detach()
        rounded = round_to_nearest(weight, 4, group_size, symmetric, searched=True)
        return module, rounded.dequantize() - weight

    return dict(pool.map(error, [module for modules in UNITS.values() for module in modules]))


def _backward(
    layer: Any,
    positions: tuple[Tensor, Tensor],
    rounding: dict[str, Tensor],
    state_and_gradient: tuple[Tensor, Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradient at a layer's input and, for each unit, every token's change of loss."""
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
        for module in rounding:
            twin.get_submodule(module).register_forward_hook(record(module))
        leaf = state.detach().requires_grad_()
        _run(twin, positions, leaf).backward(gradient)
    changes = {
        name: sum(
            ((inputs @ rounding[module].t()) * output.grad).sum(-1).flatten()
            for module in modules
            for inputs, output in [records[module]]
        )
        for name, modules in UNITS.items()
    }
    assert leaf.grad is not None
    return leaf.grad, changes
