"""The curve of a training: loss on held-out and on learned text, step by step."""

import hashlib
import io

from drawplate.report.picture import COLOURS, GRID, STYLE, SVG_DPI, inline

SIZE_INCHES = (6.4, 2.2)
Curve = list[list[float | None]]


def draw_curve(curve: Curve, unit: str = "nats") -> str:
    """Draw the curve.

    Args:
        curve: `[step, held_out_loss, train_loss]` in the order of the steps; the last of them
            is None where nothing was averaged yet.
        unit: Of the losses.

    Returns:
        An SVG element.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, dpi=SVG_DPI, layout="constrained")
        axes = figure.add_subplot()
        for column, label in ((1, "held out"), (2, "learned from")):
            points = [(row[0], row[column]) for row in curve if row[column] is not None]
            steps, losses = zip(*points, strict=True) if points else ((), ())
            axes.plot(
                steps, losses, color=COLOURS[column - 1], marker="o", markersize=3, label=label
            )
        axes.set_xlabel("step")
        axes.set_ylabel(f"loss ({unit.replace('_', ' ')})")
        axes.grid(color=GRID, linewidth=0.8)
        axes.tick_params(length=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(frameon=False, fontsize=8.5)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "drawplate"})
    # Several curves stand on one page, and identifiers must not meet.
    return inline(out.getvalue(), f"c{hashlib.sha256(repr(curve).encode()).hexdigest()[:8]}-")
