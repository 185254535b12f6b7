"""The picture of a cost's sensitivity: each assumption at its low and its high value, widest first."""

from typing import TYPE_CHECKING, Any

from drawplate.report.numbers import significant
from drawplate.report.svg import COLOURS, FAINT, INK, STYLE, SVG_DPI, as_svg, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_INCHES, ROW_INCHES, MARGIN_INCHES = 8.2, 0.3, 1.5
NAMES = {
    "price": "price of the hardware",
    "residual_share": "share of it left at the end",
    "years": "years of use",
    "operations_share_per_year": "operations a year",
    "power_price_per_kwh": "price of a kWh",
    "pue": "PUE",
    "idle_watts": "watts idle",
    "load_watts": "watts under load",
    "utilisation": "utilisation",
    "tokens_per_s": "throughput, tokens/s",
}


def draw_tornado(cost: dict[str, Any], api: dict[str, Any]) -> str:
    """Draw one variant's sensitivity, the API's price beside it.

    Args:
        cost: Of a variant, see `cost.measured.cost_of_points`.
        api: Of the report's `cost`: `factors`, the API's low and high price, or None.

    Returns:
        An SVG element.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    swings = cost["swings"]
    height = MARGIN_INCHES + ROW_INCHES * max(len(swings), 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, height), dpi=SVG_DPI, layout="constrained")
        axes = figure.add_subplot()
        for row, swing in enumerate(swings):
            _bar(axes, row, swing, cost["per_million_tokens"])
        axes.axvline(cost["per_million_tokens"], color=INK, linewidth=1.2, label="as assumed")
        price = cost["api_per_million_tokens"]
        axes.axvline(price, color=COLOURS[2], linewidth=1.6, linestyle="--", label="cloud API")
        if api["factors"]:
            low, high = api["factors"]
            axes.axvspan(price * low, price * high, color=COLOURS[2], alpha=0.1, linewidth=0)
        axes.set_yticks(range(len(swings)), [NAMES[s["name"]] for s in swings])
        axes.set_ylim(len(swings) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_xlabel(f"{cost['currency']} for a million tokens (logarithmic)")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: significant(value, 2))
        axes.xaxis.set_minor_locator(NullLocator())
        low, high = axes.get_xlim()
        axes.set_xlim(low / 1.2, high * 1.2)  # room for the numbers at the ends
        quiet(axes, hidden=("top", "right", "left"), grid="x")
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
        return as_svg(figure, "tornado-")


def _bar(axes: "Axes", row: int, swing: dict[str, Any], middle: float) -> None:
    """The costs at the low and at the high value, each written at its end."""
    ends = ((swing["cost_at_low"], swing["low"]), (swing["cost_at_high"], swing["high"]))
    for (cost, value), colour, label in zip(
        ends, COLOURS, ("at the low value", "at the high value"), strict=False
    ):
        axes.barh(
            row, cost - middle, left=middle, height=0.55, color=colour, alpha=0.75,
            label=label if row == 0 else None,
        )  # fmt: skip
        left = cost < middle
        axes.annotate(
            significant(value, 3),
            (cost, row),
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=8,
            color=FAINT,
        )
