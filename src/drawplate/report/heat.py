"""The picture of losses by layer: one cell a unit, darker where more was lost."""

import hashlib
import math
from typing import Any

from drawplate.report.svg import FAINT, INK, STYLE, SVG_DPI, as_svg

CELL_INCHES = 0.24
LEAST_WIDTH_INCHES, MOST_WIDTH_INCHES = 5.0, 10.4
LEFT_INCHES, BELOW_INCHES = 2.3, 0.9
PIXELS_PER_INCH = 96
COLOURS = "YlOrBr"
LEAST_SPAN = 10.0  # factor between the ends of the scale, lest noise looks like a difference
NARROW_CELL_INCHES = 0.16  # below it, bits are not written into cells


def draw_losses(losses: dict[str, Any]) -> str:
    """Draw the picture.

    Args:
        losses: See `losses.losses`. Units without a layer (the head) are left to the words.

    Returns:
        An SVG element; empty if no unit has a layer.
    """
    import matplotlib
    import numpy as np
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    rows = [row for row in losses["units"] if row["layer"] is not None]
    if not rows:
        return ""
    parts = list(dict.fromkeys(row["part"] for row in rows))
    layers = max(row["layer"] for row in rows) + 1
    cells = np.full((len(parts), layers), np.nan)
    for row in rows:
        # A logarithmic scale has no zero: what lost nothing is as light as can be.
        cells[parts.index(row["part"]), row["layer"]] = max(row[losses["measure"]], 1e-12)
    width = min(max(LEFT_INCHES + CELL_INCHES * layers, LEAST_WIDTH_INCHES), MOST_WIDTH_INCHES)
    low, high = _ends(float(np.nanmin(cells)), float(np.nanmax(cells)))
    with matplotlib.rc_context(STYLE):
        size = (width, BELOW_INCHES + CELL_INCHES * 1.25 * len(parts))
        figure = Figure(figsize=size, dpi=SVG_DPI, layout="constrained")
        axes = figure.add_subplot()
        mesh = axes.pcolormesh(
            cells, norm=LogNorm(low, high), cmap=COLOURS, edgecolors="white", linewidth=0.8
        )
        if (width - LEFT_INCHES) / layers >= NARROW_CELL_INCHES:
            _write_bits(axes, rows, parts, losses["measure"], low, high)
        axes.set_yticks([i + 0.5 for i in range(len(parts))], parts)
        step = max(1, math.ceil(layers / 16))
        axes.set_xticks([i + 0.5 for i in range(0, layers, step)], map(str, range(0, layers, step)))
        axes.set_xlabel("layer")
        axes.invert_yaxis()
        axes.tick_params(length=0, labelsize=8.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(mesh, ax=axes, pad=0.015, fraction=0.04)
        bar.ax.tick_params(length=0, labelsize=7.5, which="both", labelcolor=FAINT)
        bar.outline.set_visible(False)
        svg = as_svg(figure, f"h{hashlib.sha256(repr(losses).encode()).hexdigest()[:8]}-")
    # A model of few layers has a small picture, not large cells.
    return svg.replace("<svg ", f'<svg style="max-width: {width * PIXELS_PER_INCH:.0f}px" ', 1)


def _ends(low: float, high: float) -> tuple[float, float]:
    """Ends of the scale of colours: those of the values, or wider around their middle."""
    middle, half = math.sqrt(low * high), math.sqrt(LEAST_SPAN)
    return min(low, middle / half), max(high, middle * half)


def _write_bits(
    axes: Any, rows: list[dict[str, Any]], parts: list[str], measure: str, low: float, high: float
) -> None:
    """The bits of every unit, where units differ in them."""
    if len({row["bits"] for row in rows}) < 2:
        return
    for row in rows:
        share = math.log(max(row[measure], low) / low) / math.log(high / low)
        axes.text(
            row["layer"] + 0.5,
            parts.index(row["part"]) + 0.5,
            str(row["bits"]),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if share > 0.6 else INK,
        )
