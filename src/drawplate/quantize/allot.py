"""Which form each part of a model is stored in: the least expected harm within a budget of bits.

Engines fuse the projections that read the same input into one matrix product, so a form is given to
units: query, key and value together; the output projection; gate and up together; down; the head.
"""

import dataclasses
import heapq
from collections.abc import Mapping
from typing import NamedTuple

SCALE_BITS = 16
ZERO_POINT_BITS = 8


class Form(NamedTuple):
    """How a matrix is stored.

    Attributes:
        bits: Bits of a weight.
        group_size: Columns that share a scale, and a zero point on an asymmetric grid.
    """

    bits: int
    group_size: int

    def bits_per_weight(self, symmetric: bool) -> float:
        """Stored bits a weight, those of scales and zero points included."""
        shared = SCALE_BITS if symmetric else SCALE_BITS + ZERO_POINT_BITS
        return self.bits + shared / self.group_size

    def __str__(self) -> str:
        """As `parse_form` reads it, for example `4/32`."""
        return f"{self.bits}/{self.group_size}"


def parse_form(text: str) -> Form:
    """`bits/group_size`, for example `4/32`."""
    bits, group_size = text.split("/")
    return Form(int(bits), int(group_size))


@dataclasses.dataclass(frozen=True)
class Unit:
    """Linear layers that read the same input and so share one form.

    Attributes:
        name: For example `model.layers.3.qkv`.
        weights: Number of weights in all its layers.
        harms: Expected rise of the loss in nats a token, by the form the unit is rounded to.
    """

    name: str
    weights: int
    harms: Mapping[Form, float]


def allot_forms(units: list[Unit], bits_per_weight: float, symmetric: bool) -> dict[str, Form]:
    """Give larger forms where they avoid most harm for each bit, within a budget.

    All units start at their smallest form. Steps to larger ones are taken in the order of harm
    avoided for each added bit, along each unit's lower convex hull of harm over size; such a greedy
    choice is the best one but for the units at the budget's edge (Fox, "Discrete optimization via
    marginal analysis", 1966).

    Args:
        units: All that is quantized, each with the same forms.
        bits_per_weight: Mean stored bits a weight that must not be exceeded, see
            `Form.bits_per_weight`.
        symmetric: Whether grids have no zero points.

    Returns:
        Form by unit name.

    Raises:
        ValueError: If not even the smallest forms fit.
    """
    hulls = {unit.name: _hull(unit, symmetric) for unit in units}
    chosen = {name: hull[0] for name, hull in hulls.items()}
    weights = {unit.name: unit.weights for unit in units}
    total = sum(weights.values())
    left = bits_per_weight * total - sum(
        form.bits_per_weight(symmetric) * weights[name] for name, (form, _) in chosen.items()
    )
    if left < -1e-6 * total:
        smallest = bits_per_weight - left / total
        raise ValueError(f"the smallest forms take {smallest:.3f} bits a weight")
    heap: list[tuple[float, str, int]] = []

    def offer(name: str, position: int) -> None:
        """Put the step from a form on the hull to the next one among those to choose from."""
        if position + 1 < len(hulls[name]):
            cost, gain = _step(hulls[name], position, weights[name], symmetric)
            # The name breaks ties, so that the choice never hangs on the order of the list.
            heapq.heappush(heap, (-gain / cost, name, position))

    for name in hulls:
        offer(name, 0)
    while heap:
        _, name, position = heapq.heappop(heap)
        cost, _ = _step(hulls[name], position, weights[name], symmetric)
        if cost <= left:
            left -= cost
            chosen[name] = hulls[name][position + 1]
            offer(name, position + 1)
    return {name: form for name, (form, _) in chosen.items()}


def _step(
    hull: list[tuple[Form, float]], position: int, weights: int, symmetric: bool
) -> tuple[float, float]:
    """Added bits and avoided harm of one step along a hull."""
    (small, harm), (large, less) = hull[position], hull[position + 1]
    added = large.bits_per_weight(symmetric) - small.bits_per_weight(symmetric)
    return added * weights, harm - less


def _hull(unit: Unit, symmetric: bool) -> list[tuple[Form, float]]:
    """The forms on the lower convex hull of harm over size, smallest first."""

    def slope(one: tuple[Form, float], other: tuple[Form, float]) -> float:
        width = other[0].bits_per_weight(symmetric) - one[0].bits_per_weight(symmetric)
        return (other[1] - one[1]) / width

    points = sorted(unit.harms.items(), key=lambda p: (p[0].bits_per_weight(symmetric), p[1]))
    hull: list[tuple[Form, float]] = []
    for point in points:
        if hull and point[1] >= hull[-1][1]:
            continue  # larger, or as large, and no better
        while len(hull) > 1 and slope(hull[-2], hull[-1]) >= slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull
