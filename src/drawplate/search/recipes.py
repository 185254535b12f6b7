"""What a search found as recipe files that any experiment can use, never at a user's expense."""

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

MARK = re.compile(
    r"^# sha256 of what follows, if nobody changed it: ([0-9a-f]{64})\n", re.MULTILINE
)


def recipe_text(found_by: str, figures: list[str], steps: dict[str, dict[str, Any]]) -> str:
    """A file of `conf/recipe/`, readable, its settings all written out.

    Args:
        found_by: The command of the search.
        figures: A line for each variant on the front.
        steps: By label, plain data.
    """
    described = " then ".join(f"{step['kind']} ({label})" for label, step in steps.items())
    body = yaml.safe_dump(
        {"description": f"Found by a search: {described}.", "steps": steps},
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    head = [f"# Found by {found_by}", "# On the Pareto front of that search with:"]
    head += [f"#   {line}" for line in figures]
    head.append("# Change it freely: a later search leaves a changed file alone.")
    text = "\n".join(head) + "\n"
    return f"{text}# sha256 of what follows, if nobody changed it: {_digest(body)}\n{body}"


def write_recipe(folder: Path, name: str, text: str) -> tuple[str, str]:
    """Write a recipe file as `<name>.yaml`, or, where that is a user's, as `<name>-found.yaml`.

    Args:
        folder: `conf/recipe`.
        name: The recipe.
        text: See `recipe_text`.

    Returns:
        The recipe file's name without `.yaml`, and what was done: `written`, `unchanged` (it holds
        the same recipe already) or `kept` (a user's too, and another recipe: left alone).
    """
    what = "kept"
    for called in (name, f"{name}-found"):
        what = _write(folder / f"{called}.yaml", text)
        if what != "kept":
            break
    return called, what


def _write(path: Path, text: str) -> str:
    if path.exists():
        before = path.read_text()
        if before == text:
            return "unchanged"
        if not untouched(before):
            return "unchanged" if _steps(before) == _steps(text) else "kept"
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
    return "written"


def untouched(text: str) -> bool:
    """Whether a file is as a search wrote it, by the digest in its head."""
    mark = MARK.search(text)
    return mark is not None and _digest(text[mark.end() :]) == mark[1]


def figures(variant: dict[str, Any]) -> str:
    """A variant of report.json in one line."""
    words = [
        f"{variant['engine']}-{variant['target']}: {variant['artifact']['bytes'] / 1e6:.1f} MB"
    ]
    quality, performance = variant["quality"] or {}, variant["performance"] or {}
    if quality.get("perplexity"):
        words.append(f"perplexity {quality['perplexity']['value']:.2f}")
    if quality.get("kl_to_base"):
        words.append(f"{quality['kl_to_base']['mean']:.3f} nats from the base")
    decode = (performance.get("batch_1") or {}).get("decode_tokens_per_s")
    if decode:
        words.append(f"{decode['median']:.1f} tokens/s")
    return ", ".join(words)


def no_file(survivors: list[str], report: dict[str, Any]) -> str | None:
    """Why a finished search left no recipe file, None if it left one.

    Args:
        survivors: The recipes that went on to be compiled and measured.
        report: report.json.
    """
    own = [v for v in report["variants"] if v["recipe"] in survivors]
    if any(v["name"] in report["pareto"] for v in own):
        return None
    passed = {v["recipe"] for v in own if v["gate"]["passed"]}
    words = f"no recipe file: {len(survivors)} survivor{'s' if len(survivors) != 1 else ''}"
    if not survivors:
        return words
    if not passed:
        return f"{words}, none passed the gate"
    return f"{words}, {len(passed)} passed the gate, none is on the Pareto front"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _steps(text: str) -> Any:
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return loaded.get("steps") if isinstance(loaded, dict) else None
