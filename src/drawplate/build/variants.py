"""The variants of a build: their names, and which each is held against.

An engine that is compiled from another's folder brings that one's variant along as its `source`: it
is verified, evaluated and gated, and no row of the report.
"""

from collections.abc import Sequence
from typing import Any

from drawplate.config.build import Build
from drawplate.config.pairs import targets_of
from drawplate.config.sections import EngineSettings

CPU = "cpu"


def variant_rows(build: Build, here: Sequence[str]) -> list[dict[str, Any]]:
    """One entry a variant: names only, with the variant it is compared with.

    Args:
        build: The checked configuration.
        here: Targets other than the processor that this machine can run.

    Returns:
        The rows, sources before what is compiled from them. `not_run` says why a variant is built
        and not run, None if it is run; `hidden` whether it is only there as a source.
    """
    rows: list[dict[str, Any]] = []
    for asked in build.asked():
        settings = build.engines[asked.engine]
        for target in targets_of(asked, settings):
            row = _row(build, asked.recipe, asked.engine, target)
            row["not_run"] = _obstacle(target, here, settings)
            if source := settings.compiled_from:
                hidden = _row(build, asked.recipe, source, build.engines[source].targets[0])
                row["source"] = hidden["name"]
                rows.append({**hidden, "hidden": True})
            rows.append(row)
    rows = _without_doubles(rows)
    for row in rows:
        # The engine whose variants it is held against: the one it replaces, or its own.
        other = build.engines[row["engine"]].compared_with
        row["parent"] = _same_on(other, row, rows) if other else _ancestor(row, rows)
        row["base"] = _base_variant(row, rows, other or row["engine"])
    return rows


def sources_first(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows of engines that others are compiled from, and the others."""
    sources = {row["source"] for row in rows}
    engines = {row["engine"] for row in rows if row["name"] in sources}
    first = [row for row in rows if row["engine"] in engines]
    return [first, [row for row in rows if row["engine"] not in engines]]


def _row(build: Build, recipe: str, engine: str, target: str) -> dict[str, Any]:
    return {
        "name": f"{recipe}-{engine}-{target}",
        "recipe": recipe,
        "lineage": ".".join(["base", *build.recipes[recipe].steps]),
        "engine": engine,
        "target": target,
        "source": None,
        "not_run": None,
        "hidden": False,
    }


def _without_doubles(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each once, where it is first; one that is asked for itself is not hidden."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        first = found.setdefault(row["name"], row)
        first["hidden"] = first["hidden"] and row["hidden"]
    return list(found.values())


def _obstacle(target: str, here: Sequence[str], engine: EngineSettings) -> str | None:
    """Why a target is not run on this machine, None if it is."""
    if not engine.runs:
        return f"written, never loaded: {engine.description or engine.name} is not run from here"
    if target == CPU or target in here:
        return None
    return f"built, never executed: no GPU for {target} in this machine"


def _ancestor(row: dict[str, Any], rows: list[dict[str, Any]]) -> str | None:
    """The nearest ancestor's variant on the same engine and target."""
    lineage = row["lineage"]
    while "." in lineage:
        lineage = lineage.rsplit(".", 1)[0]
        for other in rows:
            if (other["lineage"], other["engine"], other["target"]) == (
                lineage,
                row["engine"],
                row["target"],
            ):
                return str(other["name"])
    return None


def _same_on(engine: str, row: dict[str, Any], rows: list[dict[str, Any]]) -> str | None:
    """The variant of the same checkpoint on another engine, on the same target if it is there."""
    found = [r for r in rows if (r["lineage"], r["engine"]) == (row["lineage"], engine)]
    found.sort(key=lambda r: r["target"] != row["target"])
    return str(found[0]["name"]) if found else None


def _base_variant(row: dict[str, Any], rows: list[dict[str, Any]], engine: str) -> str | None:
    """The base's variant that quality is paired with: on the given engine if there is one."""
    bases = [r for r in rows if r["lineage"] == "base"]
    same = [r for r in bases if r["engine"] == engine]
    best = next(iter(same or bases), row)
    return None if best is row else str(best["name"])
