"""The variants of a build: their names, and which each is held against."""

from typing import Any

from drawplate.config.schema import Build


def variant_rows(build: Build) -> list[dict[str, Any]]:
    """One entry a variant: names only, with the variant it is compared with."""
    rows: list[dict[str, Any]] = []
    for recipe, engine in build.pairs():
        for target in build.engines[engine].targets:
            lineage = ".".join(["base", *build.recipes[recipe].steps])
            rows.append(
                {
                    "name": f"{recipe}-{engine}-{target}",
                    "recipe": recipe,
                    "lineage": lineage,
                    "engine": engine,
                    "target": target,
                }
            )
    for row in rows:
        # The engine whose variants it is held against: the one it replaces, or its own.
        other = build.engines[row["engine"]].compared_with
        row["parent"] = _same_on(other, row, rows) if other else _ancestor(row, rows)
        row["base"] = _base_variant(row, rows, other or row["engine"])
    return rows


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
