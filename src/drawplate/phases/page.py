"""A phase's page in its three forms."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import write_json
from drawplate.report import templates
from drawplate.report.numbers import plain, significant

VERDICTS = {True: "go on", False: "do not go on", None: "not yet known"}


def write_page(page: dict[str, Any], folder: Path) -> list[Path]:
    """Write `<phase>.json`, `.md` and `.html`, each put in place whole.

    Args:
        page: See `answer.answer`; and `model`, `experiment`, `created_at`, `git_commit`.
        folder: `results/<model>`.

    Returns:
        The files.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, select_autoescape

    environment = Environment(
        # The look is the report's.
        loader=ChoiceLoader(
            [
                PackageLoader("drawplate.phases", "templates"),
                PackageLoader(templates.__name__, "."),
            ]
        ),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    target = folder / f"{page['phase']}.json"
    write_json(target, page)
    files = [target]
    for form in ("md", "html"):
        path = folder / f"{page['phase']}.{form}"
        text = environment.get_template(f"phase.{form}.j2").render(
            page=page, verdict=VERDICTS[page["go_on"]]
        )
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text)
        partial.replace(path)
        files.append(path)
    return files


def cell(value: Any) -> str:
    """A cell's text: numbers with the digits that mean something, a dash for nothing."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else significant(value)
    return plain(value)
