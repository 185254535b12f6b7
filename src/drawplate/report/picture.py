"""The picture: quality against decode speed, Pareto front drawn, size as area.

Drawn by matplotlib as SVG. Plotly was the other choice: its script alone makes every report
4.8 MB, and each report is also stored in MLflow. An SVG of 30 kB opens anywhere without
scripts, prints, and is the same picture in HTML, Markdown and README; names of variants in
it are text and links to their sections.
"""

from typing import TYPE_CHECKING

from drawplate.report.labels import Box, Label, place
from drawplate.report.pareto import Point
from drawplate.report.svg import COLOURS, FAINT, FRONT, INK, STYLE, SVG_DPI, as_svg, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

MARKERS = ("o", "s", "D", "^", "v", "P")
LARGEST_AREA = 900.0  # square points of the largest engine's marker
LEADER = "#9aa5b1"
NARROW_BELOW = 7.0  # inches
LOG_RATIO = 4.0  # quality that spans more than this factor is drawn on a logarithmic axis


def draw(points: list[Point], front: list[str], size_inches: tuple[float, float]) -> str:
    """Draw the picture.

    Args:
        points: The measured variants.
        front: Names on the Pareto front, from slow to fast.
        size_inches: Width and height; text keeps its size, so a narrow picture is another one.

    Returns:
        An SVG element without a header, ready to stand in HTML or (it carries its name
        space) in a file of its own.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size_inches, dpi=SVG_DPI, layout="constrained")
        axes = figure.add_subplot()
        _dress(axes, points)
        _draw_front(axes, points, front)
        _draw_points(axes, points, front)
        _explain(figure, points)
        _name(figure, axes, points, front)
        return as_svg(figure)


def _dress(axes: "Axes", points: list[Point]) -> None:
    """Axes, limits and titles: better is always up and to the right."""
    first = points[0]
    values = [p.quality for p in points]
    low = min(min(p.quality_bar[0], p.quality) for p in points)
    high = max(max(p.quality_bar[1], p.quality) for p in points)
    if not first.higher_is_better and max(values) > LOG_RATIO * min(values):
        axes.set_yscale("log")
        axes.set_ylim(low * 0.85, high * 1.15)
    else:
        margin = 0.1 * (high - low) or 0.05 * abs(high)
        room = 2.5 * margin  # for names above the best
        above = first.higher_is_better
        axes.set_ylim(low - (margin if above else room), high + (room if above else margin))
    fastest = max(p.speed_range[1] for p in points)
    axes.set_xlim(0, fastest * 1.12)
    if not first.higher_is_better:
        axes.invert_yaxis()
    direction = "higher" if first.higher_is_better else "lower"
    axes.set_ylabel(f"{first.quality_name.replace('_', ' ')} ({direction} is better)")
    axes.set_xlabel(f"{first.speed_name} at batch 1 (higher is better)")
    quiet(axes)
    axes.annotate(
        "better ↗",
        (1, 1),
        xycoords="axes fraction",
        ha="right",
        va="top",
        xytext=(-4, -4),
        textcoords="offset points",
        color=FAINT,
        fontsize=9,
    )


def _draw_front(axes: "Axes", points: list[Point], front: list[str]) -> None:
    """The front as a staircase: what quality is to be had at each speed or faster."""
    by_name = {p.name: p for p in points}
    best = [by_name[name] for name in front]
    if not best:
        return
    x, y = [0.0], [best[0].quality]
    for point, following in zip(best, [*best[1:], None], strict=True):
        x.append(point.speed)
        y.append(point.quality)
        if following is not None:
            x.append(point.speed)
            y.append(following.quality)
    end = axes.get_ylim()[0]  # the worse end, whichever way the axis points
    axes.plot([*x, best[-1].speed], [*y, end], color=FRONT, linewidth=1.6, zorder=1.5)
    axes.fill_between(
        [*x, best[-1].speed], [*y, end], end, color="#f0f4f8", zorder=0.5, linewidth=0
    )


def _draw_points(axes: "Axes", points: list[Point], front: list[str]) -> None:
    largest = max(p.bytes for p in points)
    order = list(dict.fromkeys(p.engine for p in points))
    # Large markers first, so that none hides a smaller one.
    for point in sorted(points, key=lambda p: -p.bytes):
        index = order.index(point.engine)
        colour = COLOURS[index % len(COLOURS)]
        axes.errorbar(
            point.speed,
            point.quality,
            xerr=[[point.speed - point.speed_range[0]], [point.speed_range[1] - point.speed]],
            yerr=[
                [max(point.quality - point.quality_bar[0], 0)],
                [max(point.quality_bar[1] - point.quality, 0)],
            ],
            fmt="none",
            ecolor=colour,
            elinewidth=1.1,
            capsize=2.5,
            alpha=0.75,
            zorder=2.5,
        )
        axes.scatter(
            point.speed,
            point.quality,
            s=_area(point, largest),
            marker=MARKERS[index % len(MARKERS)],
            facecolor=(colour, 0.55) if point.gate_passed else "white",
            edgecolor=INK if point.name in front else colour,
            linewidth=1.6 if point.name in front else 1.2,
            linestyle="-" if point.gate_passed else (0, (2, 1.5)),
            zorder=3,
        )


def _explain(figure: "Figure", points: list[Point]) -> None:
    """The legend, below the axes: marker of each engine, and what hollow ones mean."""
    from matplotlib.lines import Line2D

    def sign(marker: str, edge: str, face: str, label: str) -> Line2D:
        look = Line2D([], [], linestyle="none", marker=marker, markersize=8, label=label)
        look.set(markeredgecolor=edge, markerfacecolor=face)
        return look

    handles = []
    for index, engine in enumerate(dict.fromkeys(p.engine for p in points)):
        colour = COLOURS[index % len(COLOURS)]
        handles.append(sign(MARKERS[index % len(MARKERS)], colour, colour, engine))
    handles.append(Line2D([], [], color=FRONT, linewidth=1.8, label="Pareto front"))
    if not all(p.gate_passed for p in points):
        handles.append(sign("o", FAINT, "white", "stopped by the gate"))
    columns = len(handles) if figure.get_figwidth() > NARROW_BELOW else 2
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def _area(point: Point, largest: int) -> float:
    return LARGEST_AREA * point.bytes / largest


def _name(figure: "Figure", axes: "Axes", points: list[Point], front: list[str]) -> None:
    """Write each variant's name where it is free; it links to the variant's section."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # from now on the axes stay where they are
    largest = max(p.bytes for p in points)
    ordered = sorted(points, key=lambda p: (p.name not in front, -p.speed))
    texts, labels, obstacles = [], [], [_extent(axes.texts[0])]
    for point in ordered:
        text = axes.text(
            0,
            0,
            f"{point.label}\n{point.bytes / 1e6:.0f} MB",
            transform=None,
            fontsize=8.5,
            linespacing=1.25,
            color=INK if point.gate_passed else FAINT,
            fontweight="bold" if point.name in front else "normal",
            url=f"#variant-{point.name}",
            zorder=4,
        )
        low_x, low_y, high_x, high_y = _extent(text)
        x, y = axes.transData.transform((point.speed, point.quality))
        radius = _area(point, largest) ** 0.5 / 2
        texts.append(text)
        labels.append(Label((x, y), radius, high_x - low_x, high_y - low_y))
        obstacles += [(x - radius, y - radius, x + radius, y + radius), *_bars(axes, point)]
    frame = axes.get_window_extent().extents
    for text, label, found in zip(texts, labels, place(labels, obstacles, frame), strict=True):
        _move(axes, text, label, found.box, leader=found.leader)


def _move(axes: "Axes", text: "Text", label: Label, box: Box, *, leader: bool) -> None:
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    text.set(position=middle, horizontalalignment="center", verticalalignment="center")
    if leader:
        end = (
            min(max(label.anchor[0], box[0]), box[2]),
            min(max(label.anchor[1], box[1]), box[3]),
        )
        xs, ys = zip(label.anchor, end, strict=True)
        axes.plot(xs, ys, transform=None, color=LEADER, linewidth=0.8, zorder=2, scalex=False)


def _bars(axes: "Axes", point: Point) -> list[Box]:
    """Boxes of a point's two error bars, a little wider than drawn."""
    (left, low) = axes.transData.transform((point.speed_range[0], point.quality_bar[0]))
    (right, high) = axes.transData.transform((point.speed_range[1], point.quality_bar[1]))
    x, y = axes.transData.transform((point.speed, point.quality))
    low, high = min(low, high), max(low, high)
    return [(left, y - 2, right, y + 2), (x - 2, low, x + 2, high)]


def _extent(text: "Text") -> Box:
    x0, y0, x1, y1 = text.get_window_extent().extents
    return x0, y0, x1, y1
