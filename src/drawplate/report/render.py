"""The same facts as Markdown, as one HTML file that needs no network, and as a picture."""

import functools
from typing import TYPE_CHECKING, Any

from drawplate.config.names import flatten
from drawplate.report import numbers, templates
from drawplate.report.batches import batches
from drawplate.report.curve import draw_curve
from drawplate.report.heat import draw_losses
from drawplate.report.load import draw_load
from drawplate.report.optimum import draw_optimum
from drawplate.report.pareto import Point, points, primary_quality, primary_speed
from drawplate.report.picture import draw
from drawplate.report.search import draw_search
from drawplate.report.table import table
from drawplate.report.tornado import draw_tornado
from drawplate.search.recipes import no_file

if TYPE_CHECKING:
    from jinja2 import Environment

WIDE_INCHES = (10.4, 5.6)
NARROW_INCHES = (4.4, 5.4)


def picture(facts: dict[str, Any], size_inches: tuple[float, float] = WIDE_INCHES) -> str | None:
    """The picture as SVG, or None if no variant was measured."""
    measured = points(facts["variants"])
    if not measured:
        return None
    return draw(measured, facts["pareto"], size_inches)


def html(facts: dict[str, Any]) -> str:
    """The report as one page."""
    wide, narrow = picture(facts), picture(facts, NARROW_INCHES)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(**_context(facts), wide=wide, narrow=narrow)
    )


def markdown(facts: dict[str, Any]) -> str:
    """The report as Markdown, the picture beside it as `pareto.svg`."""
    return _environment().get_template("report.md.j2").render(**_context(facts))


def highlights(facts: dict[str, Any]) -> dict[str, Any]:
    """What a reader wants first: the smallest and the fastest variant that passed."""
    passed = {v["name"]: v for v in facts["variants"] if v["gate"]["passed"]}
    measured = [p for p in points(facts["variants"]) if p.name in passed]
    if not measured:  # they may have passed without an interval, of a single window
        return {"smallest": None, "fastest": None, "passed": len(passed)}
    smallest = min(measured, key=lambda p: (p.bytes, -p.speed))
    fastest = max(measured, key=lambda p: p.speed)
    return {
        "smallest": _highlight(smallest, passed),
        "fastest": _highlight(fastest, passed),
        "passed": len(passed),
    }


def _highlight(point: Point, variants: dict[str, Any]) -> dict[str, Any]:
    variant = variants[point.name]
    return {"point": point, "variant": variant, "retention": variant["quality"]["retention"]}


def _context(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "facts": facts,
        "table": table(facts["variants"]),
        "highlights": highlights(facts),
        "pictured": bool(points(facts["variants"])),
        "flatten": flatten,
        "batches": batches,
        "curve": draw_curve,
        "heat": draw_losses,
        "draw_search": draw_search,
        "tornado": draw_tornado,
        "optimum": draw_optimum,
        "draw_load": draw_load,
        "no_file": no_file,
        "primary_quality": primary_quality,
        "primary_speed": primary_speed,
    }


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        # Named by the package itself: what is imported counts as code of the stage.
        loader=PackageLoader(templates.__name__, "."),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(numbers.FILTERS)
    return environment
