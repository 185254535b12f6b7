"""What all pictures have in common: colours, quiet axes, and SVG that stands in a page."""

import io
import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (2008), told apart with any colour vision; black and yellow left out.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
SVG_DPI = 72.0  # of matplotlib's SVG, so that places computed before saving hold
INK, FAINT, GRID, FRONT = "#1f2933", "#616e7c", "#e4e7eb", "#9fb3c8"
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


def quiet(
    axes: "Axes",
    hidden: tuple[str, ...] = ("top", "right"),
    grid: Literal["both", "x", "y"] = "both",
) -> None:
    """Take away what does not speak: ticks, and the spines that are named; a faint grid stays behind."""
    axes.grid(color=GRID, linewidth=0.8, axis=grid)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both")
    for side in hidden:
        axes.spines[side].set_visible(False)


def as_svg(figure: "Figure", prefix: str | None = None) -> str:
    """The picture as an element of a page; called within the style that it was drawn in.

    Args:
        figure: The picture.
        prefix: Of its identifiers, which must not meet those of another picture on the page; None
            for one by its width.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "drawplate"})
    return _inline(out.getvalue(), prefix)


def _inline(svg: str, prefix: str | None) -> str:
    """The bare element, scaling with the page, its identifiers unlike another picture's."""
    svg = svg[svg.index("<svg") :]
    if prefix is None:
        width = re.search(r'viewBox="0 0 ([\d.]+)', svg)
        prefix = f"w{round(float(width[1]))}-" if width else ""
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(href="#|url\(#)(?!variant-)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    return svg.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")
