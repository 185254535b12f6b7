"""Places for names beside the points of a picture, so that none covers another.

Plain geometry in points (1/72 inch): a box is `(x0, y0, x1, y1)`, y upward.
"""

import dataclasses

Box = tuple[float, float, float, float]

# Directions in the order they are tried: right, left, up and down, then the corners.
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
GAPS = (4.0, 8.0, 14.0, 22.0, 32.0, 44.0, 58.0)
NEAR = 14.0  # gap up to which a name needs no line to its marker
OUTSIDE_WEIGHT = 8.0
GAP_WEIGHT = 1.0


@dataclasses.dataclass(frozen=True)
class Label:
    """A name to place.

    Attributes:
        anchor: Middle of its marker.
        radius: Half the marker's extent.
        width: Of the written name.
        height: Of the written name.
    """

    anchor: tuple[float, float]
    radius: float
    width: float
    height: float


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a name goes: the box of its text, and whether a line should lead to it."""

    box: Box
    leader: bool


def place(labels: list[Label], obstacles: list[Box], frame: Box) -> list[Place]:
    """Find a place for each label, greedily, in the order given.

    Args:
        labels: The important ones first, they get the better places.
        obstacles: Boxes not to be covered: markers, error bars.
        frame: The names should stay inside.

    Returns:
        For each label the place with the least overlap, the nearest of those.
    """
    taken, places = list(obstacles), []
    for label in labels:
        candidates = [(gap, _box(label, d, gap)) for gap in GAPS for d in DIRECTIONS]
        gap, box = min(candidates, key=lambda c: _cost(c[0], c[1], taken, frame))
        taken.append(box)
        places.append(Place(box, gap > NEAR))
    return places


def shared_area(a: Box, b: Box) -> float:
    """Area that two boxes have in common."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _box(label: Label, direction: tuple[int, int], gap: float) -> Box:
    """The label's box at a distance from its marker; at corners the marker's circle counts."""
    across, up = direction
    reach = label.radius * (0.7 if across and up else 1.0) + gap
    x = label.anchor[0] + across * (reach + label.width / 2)
    y = label.anchor[1] + up * (reach + label.height / 2)
    half_width, half_height = label.width / 2, label.height / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def _cost(gap: float, box: Box, taken: list[Box], frame: Box) -> float:
    overlap = sum(shared_area(box, other) for other in taken)
    outside = (box[2] - box[0]) * (box[3] - box[1]) - shared_area(box, frame)
    return overlap + OUTSIDE_WEIGHT * outside + GAP_WEIGHT * gap
