"""The report's files, each put in place whole."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import write_json
from drawplate.report.contract import check
from drawplate.report.flat import metrics, pareto_csv
from drawplate.report.render import html, markdown, picture

FILES = ("report.json", "report.md", "report.html", "metrics.json", "pareto.csv", "pareto.svg")


def write_report(facts: dict[str, Any], folder: Path) -> None:
    """Check the facts against the contract, then write every form of them.

    Args:
        facts: See `drawplate.report.facts.collect`.
        folder: `results/<model>`; what else stands in it stays.

    Raises:
        DrawplateError: If the facts depart from the contract.
    """
    check("report", facts)
    write_json(folder / "report.json", facts)
    write_json(folder / "metrics.json", metrics(facts))
    _write(folder / "pareto.csv", pareto_csv(facts))
    _write(folder / "report.md", markdown(facts))
    _write(folder / "report.html", html(facts))
    svg = picture(facts)
    if svg is None:
        (folder / "pareto.svg").unlink(missing_ok=True)
    else:
        _write(folder / "pareto.svg", svg)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
