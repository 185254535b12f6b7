"""Which parts stay. Pure functions of counts and scores."""

import torch
from torch import Tensor


def keep_best(scores: Tensor, count: int) -> Tensor:
    """Indices of the best scores, ascending, so that what is kept stays in its order.

    Args:
        scores: One for each part [parts]; of equal ones the first are kept.
        count: How many to keep.

    Returns:
        int64 [count].
    """
    best = torch.sort(scores, descending=True, stable=True).indices[:count]
    return best.sort().values


def layers_to_keep(influences: list[float], remove: int) -> list[int]:
    """The layers that stay when those of least block influence go.

    The first and the last layer always stay. The first turns embeddings into the much larger
    states that every later layer was trained on; after the last, the final norm and the head read
    what it writes, and no layer could make up for it. A cosine sees neither.

    Args:
        influences: Block influence of each layer.
        remove: How many go, at most two fewer than there are.

    Returns:
        Indices, ascending.
    """
    inner = torch.tensor(influences[1:-1], dtype=torch.float64)
    kept = (keep_best(inner, len(inner) - remove) + 1).tolist()
    return [0, *kept, len(influences) - 1]


def chosen_layers(total: int, choice: list[int] | str, remove: int) -> list[int]:
    """The layers that stay by choice, nothing measured.

    Args:
        total: Layers there are.
        choice: Indices that stay, or else all but `remove` at equal distances, the first and the
            last among them (a middle one if only one stays).
        remove: How many go if the choice names none.

    Returns:
        Indices, ascending.
    """
    if isinstance(choice, list):
        return choice
    count = total - remove
    if count == 1:
        return [total // 2]
    # Rounded half up, in whole numbers.
    return [(2 * i * (total - 1) + count - 1) // (2 * (count - 1)) for i in range(count)]


def rows_of_groups(groups: Tensor, width: int) -> Tensor:
    """Rows of the given groups in a matrix in which each group has `width` rows side by side.

    Args:
        groups: Indices of groups [kept groups].
        width: Rows of one group.

    Returns:
        int64 [kept groups * width].
    """
    return (groups.unsqueeze(1) * width + torch.arange(width)).flatten()
