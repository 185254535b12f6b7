"""The picture of a sweep of batch sizes: cost and energy of a token against sequences at once."""

from typing import Any

from drawplate.report.numbers import significant
from drawplate.report.svg import COLOURS, STYLE, SVG_DPI, as_svg, quiet

SIZE_INCHES = (8.2, 2.7)


def draw_optimum(cost: dict[str, Any]) -> str | None:
    """Draw cost and energy against the batch size, the least of each filled.

    Args:
        cost: See `cost.measured.cost_of_points`.

    Returns:
        An SVG element, None of fewer than two batch sizes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    loads = cost["loads"]
    if len(loads) < 2:
        return None
    sizes = [load["at_once"] for load in loads]
    panels = (
        ("per_million_tokens", f"{cost['currency']} for a million tokens", cost["cheapest"]),
        ("joules_per_token", "J a token, of the machine", cost["least_energy"]),
    )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, dpi=SVG_DPI, layout="constrained")
        for number, (name, title, best) in enumerate(panels):
            axes = figure.add_subplot(1, 2, number + 1)
            values, colour = [load[name] for load in loads], COLOURS[number]
            axes.plot(
                sizes, values, color=colour, marker="o", markersize=5, markerfacecolor="white"
            )
            least = values[sizes.index(best)]
            axes.plot([best], [least], color=colour, marker="o", markersize=8)
            axes.annotate(
                significant(least, 3), (best, least), xytext=(0, 9), textcoords="offset points",
                ha="center", fontsize=9,
            )  # fmt: skip
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_ylim(bottom=0, top=1.15 * max(values))
            axes.set_xlabel("sequences at once")
            axes.set_ylabel(title)
            quiet(axes)
        return as_svg(figure, "optimum-")
