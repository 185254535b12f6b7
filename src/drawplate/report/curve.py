"""The curve of a training: loss on held-out and on learned text, step by step."""

import hashlib

from drawplate.report.svg import COLOURS, STYLE, SVG_DPI, as_svg, quiet

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
        quiet(axes)
        axes.legend(frameon=False, fontsize=8.5)
        # Several curves stand on one page, and identifiers must not meet.
        return as_svg(figure, f"c{hashlib.sha256(repr(curve).encode()).hexdigest()[:8]}-")
