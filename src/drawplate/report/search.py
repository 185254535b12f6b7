"""The picture of a search: every measured trial by size and loss, who went on and who was stopped."""

from typing import Any

from drawplate.report.svg import COLOURS, FAINT, FRONT, INK, STYLE, SVG_DPI, as_svg, quiet

SIZE_INCHES = (8.2, 3.6)
PREFIX = "search-"
MEASURES = {
    "kl_to_base_nats": "KL to the base (nats a token)",
    "cosine_distance_to_base": "cosine distance from the base",
}


def draw_search(search: dict[str, Any]) -> str | None:
    """Draw a search's trials.

    Args:
        search: The search's result: `trials`, `survivors`, `base_bytes`, `measure`.

    Returns:
        An SVG element, None if nothing was measured.
    """
    import matplotlib
    from matplotlib.figure import Figure

    measured = [t for t in search["trials"] if t["status"] in ("survived", "stopped")]
    if not measured:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, dpi=SVG_DPI, layout="constrained")
        axes = figure.add_subplot()
        front = [(t["bytes"] / 1e6, t["loss"]) for t in measured if t["status"] == "survived"]
        front = sorted([*front, (search["base_bytes"] / 1e6, 0.0)])
        axes.step(*zip(*front, strict=True), where="post", color=FRONT, linewidth=1.6, zorder=1.5)
        for status, colour, face in (
            ("stopped", FAINT, "white"),
            ("survived", COLOURS[0], COLOURS[0]),
        ):
            rows = [t for t in measured if t["status"] == status]
            axes.scatter(
                [t["bytes"] / 1e6 for t in rows],
                [t["loss"] for t in rows],
                s=46,
                facecolor=face,
                edgecolor=colour,
                linewidth=1.2,
                zorder=3,
                label=f"{status} ({len(rows)})",
            )
            for trial in rows:
                axes.annotate(
                    str(trial["number"]),
                    (trial["bytes"] / 1e6, trial["loss"]),
                    xytext=(5, 4),
                    textcoords="offset points",
                    fontsize=7.5,
                    color=INK if status == "survived" else FAINT,
                )
        axes.scatter(
            [search["base_bytes"] / 1e6], [0.0], marker="*", s=90, color=INK, label="base", zorder=3
        )
        # Losses of good recipes are small, those of bad ones may be a hundred times as large.
        floor = min((t["loss"] for t in measured if t["loss"] > 0), default=1.0)
        axes.set_yscale("symlog", linthresh=floor)
        axes.set_xlim(left=0)
        axes.set_xlabel("stored (MB)")
        axes.set_ylabel(MEASURES[search["measure"]])
        quiet(axes)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        return as_svg(figure, PREFIX)
