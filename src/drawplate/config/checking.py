"""Composed data held against the shape, and its parts against each other, before any job starts."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from drawplate.config.build import Build
from drawplate.config.bundles import check_bundles
from drawplate.config.drafts import check_draft
from drawplate.config.explain import explained
from drawplate.config.holding import check_format
from drawplate.config.images import PART
from drawplate.config.pairs import all_pairs, check_targets
from drawplate.config.schema import Configuration, Recipe
from drawplate.config.search import Search
from drawplate.config.sections import EngineSettings
from drawplate.config.space import Candidate, candidates
from drawplate.config.steps import KINDS, check_shared, check_task, settings_of
from drawplate.errors import DrawplateError


def check(plain: dict[str, Any], supported: Mapping[str, list[str]] | None = None) -> Build:
    """Check composed data.

    Args:
        plain: The data; overrides are applied to it.
        supported: Targets by engine, of engines that the experiment need not have: to name one
            that could.

    Raises:
        DrawplateError: With the first thing that is wrong, in one line.
    """
    _apply_overrides(plain)
    _check_reach(plain)
    try:
        checked = Configuration.model_validate(plain)
    except ValidationError as error:
        raise explained(error, Configuration) from None
    build = Build(_with_proposed(checked))
    _check_image_name(build)
    _check_pairs(build, supported or {})
    _check_parents(build)
    check_bundles(build)
    return build


def _check_image_name(build: Build) -> None:
    """Refuse a model that an image cannot be named after; folders take more.

    Raises:
        DrawplateError: If there is to be an image.
    """
    if build.package["build"] and not re.fullmatch(PART, build.model):
        raise DrawplateError(
            f"model is {build.model!r}, and an image cannot have that name",
            "write one that ends with a letter or digit, with no more than two _ in a row",
        )


def proposals(
    search: Search, engines: dict[str, EngineSettings], task: str
) -> dict[str, Candidate]:
    """Every recipe that a search may propose for a base of a task, by name."""

    def no_engine(steps: dict[str, dict[str, Any]]) -> str | None:
        problems = [_engine_problem("proposed", engine, engines, task, steps) for engine in engines]
        return None if None in problems or not problems else problems[0]

    return candidates(search, no_engine)


def _engine_problem(
    recipe: str,
    engine: str,
    engines: dict[str, EngineSettings],
    task: str,
    steps: dict[str, dict[str, Any]],
) -> str | None:
    try:
        for label, step in steps.items():
            check_format(engines, task, recipe, engine, label, step)
    except DrawplateError as error:
        return str(error)
    return None


def _with_proposed(checked: Configuration) -> Configuration:
    """The configuration with the recipes that `search.recipes` names, on every engine that can.

    Raises:
        DrawplateError: For a name that the space does not hold, or that means two things.
    """
    if checked.search is None:
        return checked
    known = proposals(checked.search, checked.engines, checked.base.task)
    if all(candidate.problem for candidate in known.values()):
        problem = next(iter(known.values())).problem
        raise DrawplateError("search: no recipe of its space can be built", str(problem))
    declared = {
        name: {label: step.model_dump(mode="json") for label, step in recipe.steps.items()}
        for name, recipe in checked.recipes.items()
    }
    for name in declared.keys() & known.keys():
        if declared[name] != known[name].steps:
            raise DrawplateError(
                f"recipe {name} of the experiment is another than that of the search's space",
                "rename the recipe, or the step in search.steps",
            )
    named = [name for name in dict.fromkeys(checked.search.recipes or []) if name not in declared]
    for name in named:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1)
            raise DrawplateError(
                f"search.recipes names {name!r}, which the space does not hold",
                f"did you mean {close[0]!r}?" if close else "name recipes of the search's space",
            )
        if problem := known[name].problem:
            raise DrawplateError(f"search.recipes: {name} cannot be built", problem)
    recipes = {name: Recipe(steps=known[name].steps) for name in named}  # type: ignore[arg-type]
    try:
        check_shared({**declared, **{name: known[name].steps for name in named}})
    except ValueError as error:
        raise DrawplateError(str(error)) from None
    pairs = checked.variants
    if pairs is None:
        pairs = [str(asked) for asked in all_pairs(checked.recipes, checked.engines)]
    task = checked.base.task
    held = [
        str(asked)
        for asked in all_pairs(named, checked.engines)
        if _engine_problem(
            asked.recipe, asked.engine, checked.engines, task, known[asked.recipe].steps
        )
        is None
    ]
    return checked.model_copy(
        update={"recipes": {**checked.recipes, **recipes}, "variants": [*pairs, *held]}
    )


def _apply_overrides(plain: dict[str, Any]) -> None:
    """`quantize.bits=4` on the command line goes into every quantize step of every recipe.

    Methods differ in what they may be told: a step without such a setting is left alone. What is
    of the wrong type stays as it is: validation comes next and names it.
    """
    chains = [*_settings(plain.get("recipes")).values(), plain.get("search")]
    for chain in chains:
        for step in _settings(_settings(chain).get("steps")).values():
            kind = _settings(step).get("kind")
            if isinstance(kind, str) and kind in KINDS:
                values = {k: v for k, v in _settings(plain.get(kind)).items() if v is not None}
                step.update({k: v for k, v in values.items() if k == "method"})
                known = settings_of(step)
                step.update({k: v for k, v in values.items() if known is None or k in known})


def _check_reach(plain: dict[str, Any]) -> None:
    """Refuse values for steps of a kind that there is none of: they would be lost without a word.

    Raises:
        DrawplateError: Naming the first of them.
    """
    sections = {name: _settings(plain.get(name)) for name in KINDS}
    found = _step_kinds({name: v for name, v in plain.items() if name not in sections})
    for kind, section in sections.items():
        given = [name for name, value in section.items() if value is not None]
        if given and kind not in found:
            raise DrawplateError(
                f"{kind}.{given[0]} is set, but no recipe of the experiment has a {kind} step",
                f"leave it out, or add a recipe with a {kind} step",
            )


def _step_kinds(value: Any) -> set[str]:
    """What is written as a `kind` anywhere inside a value."""
    if isinstance(value, list):
        return {kind for item in value for kind in _step_kinds(item)}
    kinds = {kind for item in _settings(value).values() for kind in _step_kinds(item)}
    own = _settings(value).get("kind")
    return kinds | {own} if isinstance(own, str) else kinds


def _settings(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _check_pairs(build: Build, supported: Mapping[str, list[str]]) -> None:
    """Refuse what cannot be built, naming what can.

    Raises:
        DrawplateError: For an unknown recipe or engine, or a pair that cannot work.
    """
    task: Literal["causal-lm", "encoder"] = build.base["task"]
    if not build.pairs():
        raise DrawplateError("the experiment has no variants", "name recipes and engines in it")
    for name, chain in build.recipes.items():
        for label, step in chain.steps.items():
            check_task(name, label, step, task)
    for asked in build.asked():
        recipe, engine = asked.recipe, asked.engine
        if not engine:
            raise DrawplateError(
                f"variant {asked} names no engine",
                f"write recipe/engine, for example {asked}/{next(iter(build.engines), 'onnxruntime')}",
            )
        for kind, name, known in (
            ("recipe", recipe, build.recipes),
            ("engine", engine, build.engines),
        ):
            if name not in known:
                close = difflib.get_close_matches(name, list(known), n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise DrawplateError(
                    f"variant {asked}: the experiment has no {kind} {name!r}",
                    f"{hint}it has {', '.join(known)}",
                )
        settings = build.engines[engine]
        if task not in settings.tasks:
            able = [n for n, s in build.engines.items() if task in s.tasks]
            raise DrawplateError(
                f"engine {engine} cannot run a base of task {task}",
                f"choose one that can: {', '.join(able) or 'onnxruntime, transformers'}",
            )
        for label, step in build.recipes[recipe].steps.items():
            check_format(build.engines, task, recipe, engine, label, step)
        check_targets(asked, build.engines[engine], build.recipes[recipe].steps, supported)
        if "draft" in settings.options:
            chains = {name: list(known.steps) for name, known in build.recipes.items()}
            drafting = check_draft(recipe, settings, chains)
            for label, step in build.recipes[drafting].steps.items():
                check_format(build.engines, task, drafting, engine, label, step)


def _check_parents(build: Build) -> None:
    """Refuse a variant that appears twice, or that the gate could compare with nothing.

    Raises:
        DrawplateError: Naming the variant and what to add.
    """
    asked, pairs = build.asked(), build.pairs()
    chains = {name: list(recipe.steps) for name, recipe in build.recipes.items()}
    for line in asked:
        same = [a for a in asked if (a.recipe, a.engine) == (line.recipe, line.engine)]
        if same.count(line) > 1 or (len(same) > 1 and None in {a.target for a in same}):
            raise DrawplateError(f"variant {line} is listed twice", "list it once")
    for recipe, engine in pairs:
        other_engine = build.engines[engine].compared_with
        if other_engine is not None:
            if (recipe, other_engine) not in pairs:
                raise DrawplateError(
                    f"variant {recipe}/{engine} is compared with {recipe}/{other_engine}, "
                    "which the experiment does not have",
                    f"add {recipe}/{other_engine} to variants, and the engine to engines",
                )
            continue
        # Of a model whose float weights do not fit a GPU, the graph is what the others have lost to.
        able = (engine, build.engines[engine].compiled_from)
        chain, others = chains[recipe], [chains[r] for r, e in pairs if e in able]
        if chain and not any(len(o) < len(chain) and chain[: len(o)] == o for o in others):
            whole = next((name for name, steps in chains.items() if not steps), None)
            raise DrawplateError(
                f"variant {recipe}/{engine} has nothing to be compared with on {engine}",
                f"add {whole}/{engine} to variants" if whole else "add a recipe without steps",
            )
