"""Names beside the points of a picture, set so that none covers another."""

from typing import TYPE_CHECKING

from drawplate.report.pareto import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Offsets in points and alignment, in the order they are tried.
PLACES = (
    (0, 1, "center", "bottom"),
    (1, 0, "left", "center"),
    (0, -1, "center", "top"),
    (-1, 0, "right", "center"),
    (0.8, 0.8, "left", "bottom"),
    (0.8, -0.8, "left", "top"),
    (-0.8, 0.8, "right", "bottom"),
    (-0.8, -0.8, "right", "top"),
)
DISTANCES = (16, 26, 38, 52)
INK, FAINT = "#1f2933", "#616e7c"


def place_labels(axes: "Axes", points: list[Point], front: list[str]) -> None:
    """Write each variant's name and size where it is free; names link to their sections.

    Greedy: those on the front first, each at the first place inside the axes that meets no
    marker and no label set before, or at the place where it overlaps least.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    markers = [c.get_window_extent() for c in axes.collections if len(c.get_offsets()) == 1]
    taken: list[Bbox] = [*markers, axes.texts[0].get_window_extent()]
    for point in sorted(points, key=lambda p: (p.name not in front, -p.speed)):
        label = axes.annotate(
            f"{point.name}\n{point.bytes / 1e6:.0f} MB",
            (point.speed, point.quality),
            textcoords="offset points",
            xytext=(0, 0),
            fontsize=8.5,
            color=INK if point.gate_passed else FAINT,
            fontweight="bold" if point.name in front else "normal",
            linespacing=1.25,
            zorder=4,
            url=f"#variant-{point.name}",
        )
        best = min(_candidates(), key=lambda c: _cost(label, c, taken, axes))
        _move(label, best)
        taken.append(label.get_window_extent())


def _candidates() -> list[tuple[float, float, str, str]]:
    return [(dx * d, dy * d, ha, va) for d in DISTANCES for dx, dy, ha, va in PLACES]


def _move(label, place: tuple[float, float, str, str]) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    dx, dy, horizontal, vertical = place
    label.set_position((dx, dy))
    label.set_horizontalalignment(horizontal)
    label.set_verticalalignment(vertical)


def _cost(label, place, taken, axes) -> float:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Overlap in square pixels with what stands already, and the overhang over the axes."""
    _move(label, place)
    box, frame = label.get_window_extent(), axes.get_window_extent()
    overlap = sum(_shared(box, other) for other in taken)
    outside = box.width * box.height - _shared(box, frame)
    return float(overlap + 4 * outside)


def _shared(a: "Bbox", b: "Bbox") -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0.0) * max(height, 0.0)
