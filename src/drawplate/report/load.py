"""The picture of an image under rising load: what it gives, and how long one waits for it."""

from typing import Any

from drawplate.report.svg import COLOURS, STYLE, SVG_DPI, as_svg, quiet

SIZE_INCHES = (8.2, 2.7)


def draw_load(package: dict[str, Any]) -> str | None:
    """Draw rate and waiting time against the requests in flight, and the target of the latter.

    Args:
        package: See `report.packaged.packaged`.

    Returns:
        An SVG element, None of fewer than two levels that answered.
    """
    import matplotlib
    from matplotlib.figure import Figure

    encoder = package["task"] == "encoder"
    waiting = "latency_ms" if encoder else "first_token_ms"
    levels = [level for level in package["levels"] if level[waiting]]
    if len(levels) < 2:
        return None
    at_once = [level["concurrency"] for level in levels]
    target_ms = package["load"]["first_token_ms"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, dpi=SVG_DPI, layout="constrained")
        rates, waits = figure.subplots(1, 2)
        name = "requests_per_s" if encoder else "output_tokens_per_s"
        rates.plot(at_once, [level[name] for level in levels], color=COLOURS[0], marker="o")
        rates.set_ylabel("texts/s" if encoder else "tokens/s of answers")
        for number, share in enumerate(("p50", "p95", "p99")):
            values = [level[waiting][share] for level in levels]
            waits.plot(at_once, values, color=COLOURS[number], marker="o", label=share)
        waits.axhline(target_ms, color="black", linewidth=0.9, linestyle=":")
        waits.annotate(
            "target of p95", (at_once[0], target_ms), xytext=(0, 3), textcoords="offset points",
            fontsize=8.5,
        )  # fmt: skip
        waits.set_ylabel(f"{'answer' if encoder else 'first token'}, ms")
        waits.legend(frameon=False, fontsize=8.5)
        for axes in (rates, waits):
            axes.set_xscale("log", base=2)
            axes.set_xticks(at_once, [str(number) for number in at_once])
            axes.set_ylim(bottom=0)
            axes.set_xlabel("requests at once")
            quiet(axes)
        return as_svg(figure, "load-")
