"""Which parts of a model keep 8 bits when the rest gets 4: the most harm avoided for each weight.

Engines fuse the projections that read the same input into one matrix product, so bits are given to
units: query, key and value together; the output projection; gate and up together; down.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Unit:
    """Linear layers that read the same input and so share one bit width.

    Attributes:
        name: For example `model.layers.3.qkv`.
        weights: Number of weights in all its layers.
        harm: Expected rise of the loss in nats per token if it is rounded to 4 bits.
    """

    name: str
    weights: int
    harm: float


def allot_bits(
    units: list[Unit], budget_share: float, head_weights: int, head_bits: int
) -> dict[str, int]:
    """Give 8 bits where 4 would do most harm, up to a share of all weights.

    Greedy by harm per weight, which is the best choice but for the units at the budget's edge.

    Args:
        units: Every unit of the decoder layers.
        budget_share: Largest share of all weights, the head's included, that may have 8 bits.
        head_weights: Weights of the head, whose bits are chosen apart.
        head_bits: If it is not 4, the head takes its share of the budget first.

    Returns:
        4 or 8 by unit name.
    """
    budget = budget_share * (head_weights + sum(unit.weights for unit in units))
    if head_bits != 4:
        budget -= head_weights
    bits = dict.fromkeys((unit.name for unit in units), 4)
    # The name breaks ties, so that the choice never hangs on the order of the list.
    for unit in sorted(units, key=lambda unit: (-unit.harm / unit.weights, unit.name)):
        if unit.weights <= budget:
            bits[unit.name] = 8
            budget -= unit.weights
    return bits
