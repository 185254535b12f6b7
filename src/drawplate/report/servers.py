"""Which artifact loads in which version of which runtime: one cell a recipe and engine."""

from typing import Any


def matrix(variants: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What was loaded, what was only checked, and what failed.

    Args:
        variants: Of the report's facts.

    Returns:
        `engines` (columns: engine and target), `recipes` (rows) and `cells` (text by recipe and
        engine); None where there is one engine alone, so that the table of variants says it all.
    """
    engines = list(dict.fromkeys((v["engine"], v["target"]) for v in variants))
    if len({engine for engine, _ in engines}) < 2:
        return None
    recipes = list(dict.fromkeys(v["recipe"] for v in variants))
    found = {(v["recipe"], v["engine"], v["target"]): _cell(v) for v in variants}
    return {
        "engines": [f"{engine} {target}" for engine, target in engines],
        "recipes": recipes,
        "cells": {
            recipe: [found.get((recipe, *engine), "not asked for") for engine in engines]
            for recipe in recipes
        },
    }


def _cell(variant: dict[str, Any]) -> str:
    verified = variant["verify"]
    if verified is None:
        return f"{variant['status'].replace('_', ' ')}: {variant['reason']}"
    if checked := verified.get("checked"):
        facts = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in checked.items() if v is not None)
        return f"not loaded; form checked: {facts}"
    measure = "kl" if "kl" in verified else "min_cosine"
    words = {"kl": "KL to its checkpoint", "min_cosine": "smallest cosine"}
    return f"loads in {verified['runtime']}, {words[measure]} {verified[measure]:.2g}"
