"""Choose what is kept of one unit of a decoder layer, and fit the weights that stay."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from drawplate.layerwise.decoder import UNITS
from drawplate.layerwise.moments import cross_moment, mean_square, second_moment
from drawplate.layerwise.workers import Workers
from drawplate.prune.compensate import (
    aimed,
    damped,
    error_towards,
    fit_kept,
    widened,
)
from drawplate.prune.cut import Cut, Fitted, masked
from drawplate.prune.keep import keep_best
from drawplate.prune.options import Refit, Score
from drawplate.prune.scores import (
    channel_importance,
    channel_magnitude,
    group_importance,
    group_magnitude,
)
from drawplate.prune.shape import Shape

WRITERS = ("self_attn.o_proj", "mlp.down_proj")
"""What writes to the residual stream; all other modules read it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to go from a decoder, and how the rest is fitted.

    Attributes:
        before: Sizes of the parent.
        after: Sizes of the pruned model.
        kept_layers: The parent's layers that stay, ascending.
        hidden: Indices of the residual channels that stay; None for all.
        score: See `PruneOptions`.
        refit: See `PruneOptions`.
        damping: See `PruneOptions`.
    """

    before: Shape
    after: Shape
    kept_layers: list[int]
    hidden: Tensor | None
    score: Score
    refit: Refit
    damping: float

    @property
    def removes_width(self) -> bool:
        """Whether channels or groups of each layer go."""
        return self.after.channels < self.before.channels or self.after.groups < self.before.groups

    @property
    def is_walked(self) -> bool:
        """Whether the layers are walked through on calibration text."""
        if self.refit == "dense":
            return True
        return self.removes_width and (self.refit == "own" or self.score != "magnitude")

    def has_drifted(self, layer: int) -> bool:
        """Whether what enters a layer differs from what enters it in the unpruned model."""
        return (
            self.hidden is not None
            or (self.removes_width and layer > 0)
            or any(earlier not in self.kept_layers for earlier in range(layer))
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One of two models, pruned and unpruned, at a unit of a layer.

    Attributes:
        layer: The decoder layer.
        inputs: Batches that enter the unit [windows, tokens, features].
        hidden: The residual stream beside it, batches [windows, tokens, hidden].
    """

    layer: Any
    inputs: list[Tensor]
    hidden: list[Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """What a linear layer is fitted to.

    Attributes:
        best: The weight of all inputs that comes nearest to it [outputs, inputs].
        cross: Mean over tokens of `x y^T` with the wanted outputs y [inputs, outputs].
        power: Mean over tokens of `|y|^2`.
    """

    best: Tensor
    cross: Tensor
    power: float


def fit_unit(
    unit: str, pruned: Side, dense: Side | None, plan: Plan, cut: Cut, pool: Workers
) -> Cut:
    """Choose and fit what is kept of one unit; its layer goes on with the result.

    Args:
        unit: Of `UNITS`.
        pruned: The pruned model. Its layer keeps its full width, with zeros where something is
            gone.
        dense: The unpruned model, if the unit is to be fitted to its outputs.
        plan: What is to go.
        cut: What was decided of the layer so far.
        pool: Where batches are computed.

    Returns:
        `cut`, and what was decided of the unit.
    """
    removes = removed_structures(unit, plan) > 0
    if not removes and dense is None:
        return cut
    moment = second_moment(pruned.inputs, pool)
    hessian = damped(moment, plan.damping)
    for module in UNITS[unit]:
        linear = pruned.layer.get_submodule(module)
        goal = _goal(module, pruned, dense, plan, moment, hessian, pool)
        if removes:
            cut = _choose(unit, pruned.layer, moment, plan, cut)
        kept = cut.inputs_of(module, plan.before)
        sliced = linear.weight[:, kept]
        weight = sliced if plan.refit == "none" else fit_kept(hessian, goal.best, kept)
        wide = widened(weight, kept, len(moment))
        if plan.refit != "none":
            unfitted = widened(sliced, kept, len(moment))
            fitted = Fitted(
                module=module,
                weight=weight.to(torch.float32),
                error=error_towards(moment, goal.cross, goal.power, wide),
                error_unfitted=error_towards(moment, goal.cross, goal.power, unfitted),
            )
            cut = dataclasses.replace(cut, fitted=(*cut.fitted, fitted))
        # In the walk the layer keeps its full width, with zeros where something is gone.
        linear.weight.copy_(wide)
    return cut


def removed_structures(unit: str, plan: Plan) -> int:
    """How many channels or groups go at the input of a unit."""
    if unit == "o":
        return plan.before.groups - plan.after.groups
    return plan.before.channels - plan.after.channels if unit == "down" else 0


def _choose(unit: str, layer: Any, moment: Tensor, plan: Plan, cut: Cut) -> Cut:
    """Add to a cut which structures of a unit's input stay."""
    is_group = unit == "o"
    keep = plan.after.groups if is_group else plan.after.channels
    if plan.score == "magnitude":
        kept = keep_best(
            group_norms(layer, plan.before) if is_group else channel_norms(layer), keep
        )
    elif is_group:
        output = layer.self_attn.o_proj.weight
        kept = keep_best(group_importance(moment, output, plan.before.groups), keep)
    else:
        kept = keep_best(channel_importance(moment.diagonal(), layer.mlp.down_proj.weight), keep)
    return dataclasses.replace(cut, **{"groups" if is_group else "channels": kept})


def channel_norms(layer: Any) -> Tensor:
    """Importance of a layer's MLP channels by weights alone, see `channel_magnitude`."""
    mlp = layer.mlp
    return channel_magnitude(mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight)


def group_norms(layer: Any, shape: Shape) -> Tensor:
    """Importance of a layer's key/value groups by weights alone, see `group_magnitude`."""
    attention = layer.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (p.weight.unflatten(0, (shape.groups, -1)) for p in projections)
    output = attention.o_proj.weight.t().unflatten(0, (shape.groups, -1))
    return group_magnitude(query, key, value, output)


def _goal(
    module: str,
    pruned: Side,
    dense: Side | None,
    plan: Plan,
    moment: Tensor,
    hessian: Tensor,
    pool: Workers,
) -> Goal:
    """What a module is fitted to: its own output, or that of the unpruned model."""
    weight = pruned.layer.get_submodule(module).weight
    if dense is None:
        best = weight.to(moment.dtype)
        cross = moment @ best.t()
        return Goal(best=best, cross=cross, power=float((best.t() * cross).sum()))
    outputs = _wanted(module, pruned, dense, plan.hidden, pool)
    cross = cross_moment(pruned.inputs, outputs, pool)
    best = aimed(moment, hessian, weight, cross)
    return Goal(best=best, cross=cross, power=mean_square(outputs))


def _wanted(
    module: str, pruned: Side, dense: Side, hidden: Tensor | None, pool: Workers
) -> list[Tensor]:
    """What a module shall make of the pruned model's inputs, batch by batch, biases left out.

    A module that writes to the residual stream shall also make up for what that stream lacks by
    then.
    """
    weight = dense.layer.get_submodule(module).weight
    outputs = pool.map(lambda inputs: inputs @ weight.t(), dense.inputs)
    if module not in WRITERS:
        return outputs
    streams = zip(dense.hidden, outputs, pruned.hidden, strict=True)
    return [masked(state + output, hidden) - own for state, output, own in streams]
