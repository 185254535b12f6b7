"""The picture: quality against decode speed, Pareto front drawn, size as area.

Drawn by matplotlib as SVG. Plotly was the other choice: its script alone makes every report
4.8 MB, and each report is also stored in MLflow. An SVG of 30 kB opens anywhere without
scripts, prints, and is the same picture in HTML, Markdown and README; names of variants in
it are text and links to their sections.
"""

import io
import re
from typing import TYPE_CHECKING

from drawplate.report.labels import place_labels
from drawplate.report.pareto import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (2008), told apart with any colour vision; black and yellow left out.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "D", "^", "v", "P")
LARGEST_AREA = 1100.0  # square points of the largest engine's marker
INK, FAINT, GRID = "#1f2933", "#616e7c", "#e4e7eb"
LOG_RATIO = 4.0  # quality that spans more than this factor is drawn on a logarithmic axis
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "drawplate",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


def draw(
    points: list[Point],
    front: list[str],
    engines: dict[str, str],
    size_inches: tuple[float, float],
) -> str:
    """Draw the picture.

    Args:
        points: The measured variants.
        front: Names on the Pareto front, from slow to fast.
        engines: Engine of each variant, which decides its marker.
        size_inches: Width and height; text keeps its size, so a narrow picture is another one.

    Returns:
        An SVG element without a header, ready to stand in HTML or (it carries its name
        space) in a file of its own.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size_inches, layout="constrained")
        axes = figure.add_subplot()
        _dress(axes, points)
        _draw_front(axes, points, front)
        _draw_points(axes, points, front, engines)
        place_labels(axes, points, front)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "drawplate"})
    return _inline(out.getvalue())


def _dress(axes: "Axes", points: list[Point]) -> None:
    """Axes, limits and titles: better is always up and to the right."""
    first = points[0]
    values = [p.quality for p in points]
    low = min(min(p.quality_ci95[0], p.quality) for p in points)
    high = max(max(p.quality_ci95[1], p.quality) for p in points)
    if not first.higher_is_better and max(values) > LOG_RATIO * min(values):
        axes.set_yscale("log")
        axes.set_ylim(low * 0.85, high * 1.15)
    else:
        margin = 0.12 * (high - low) or 0.05 * abs(high)
        axes.set_ylim(low - margin, high + margin)
    fastest = max(p.speed_range[1] for p in points)
    axes.set_xlim(0, fastest * 1.12)
    if not first.higher_is_better:
        axes.invert_yaxis()
    direction = "higher" if first.higher_is_better else "lower"
    axes.set_ylabel(f"{first.quality_name.replace('_', ' ')} ({direction} is better)")
    axes.set_xlabel(f"{first.speed_name} at batch 1 (higher is better)")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
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
    axes.plot([*x, best[-1].speed], [*y, end], color="#9fb3c8", linewidth=1.6, zorder=1.5)
    axes.fill_between(
        [*x, best[-1].speed], [*y, end], end, color="#f0f4f8", zorder=0.5, linewidth=0
    )


def _draw_points(
    axes: "Axes", points: list[Point], front: list[str], engines: dict[str, str]
) -> None:
    largest = max(p.bytes for p in points)
    order = list(dict.fromkeys(engines[p.name] for p in points))
    # Large markers first, so that none hides a smaller one.
    for point in sorted(points, key=lambda p: -p.bytes):
        index = order.index(engines[point.name])
        colour = COLOURS[index % len(COLOURS)]
        axes.errorbar(
            point.speed,
            point.quality,
            xerr=[[point.speed - point.speed_range[0]], [point.speed_range[1] - point.speed]],
            yerr=[
                [max(point.quality - point.quality_ci95[0], 0)],
                [max(point.quality_ci95[1] - point.quality, 0)],
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
            s=LARGEST_AREA * point.bytes / largest,
            marker=MARKERS[index % len(MARKERS)],
            facecolor=(colour, 0.55) if point.gate_passed else "white",
            edgecolor=INK if point.name in front else colour,
            linewidth=1.6 if point.name in front else 1.2,
            linestyle="-" if point.gate_passed else (0, (2, 1.5)),
            zorder=3,
        )


def _inline(svg: str) -> str:
    """The bare element, scaling with the page, its identifiers unlike another picture's."""
    svg = svg[svg.index("<svg") :]
    width = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    prefix = f"w{round(float(width[1]))}-" if width else ""
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(href="#|url\(#)(?!variant-)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    return svg.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")
