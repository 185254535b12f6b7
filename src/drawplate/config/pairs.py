"""The variants that an experiment asks for: recipe, engine, and the targets of it."""

import dataclasses
from collections.abc import Iterable, Mapping

from drawplate.config.holding import step_format
from drawplate.config.sections import EngineSettings
from drawplate.errors import DrawplateError


@dataclasses.dataclass(frozen=True)
class Asked:
    """One line of `variants`.

    Attributes:
        recipe: Its name.
        engine: Its name.
        target: The one target it names; None for all of the engine's.
    """

    recipe: str
    engine: str
    target: str | None = None

    @classmethod
    def read(cls, line: str) -> "Asked":
        """From `recipe/engine` or `recipe/engine/target`."""
        recipe, _, rest = line.partition("/")
        engine, _, target = rest.partition("/")
        return cls(recipe, engine, target or None)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.recipe, self.engine, self.target)))


def all_pairs(recipes: Iterable[str], engines: dict[str, EngineSettings]) -> list[Asked]:
    """Every recipe on every engine, but no draft for itself."""
    return [
        Asked(recipe, name)
        for recipe in recipes
        for name, engine in engines.items()
        if engine.draft != recipe
    ]


def targets_of(asked: Asked, settings: EngineSettings) -> list[str]:
    """The targets of a line, in the engine's order."""
    return settings.targets if asked.target is None else [asked.target]


def check_targets(
    asked: Asked,
    settings: EngineSettings,
    steps: dict[str, dict[str, object]],
    supported: Mapping[str, list[str]],
) -> None:
    """Refuse targets that the engine does not know, or that cannot hold what the recipe makes.

    Args:
        asked: The line.
        settings: Its engine's.
        steps: Of its recipe, by label.
        supported: Targets by engine, of all that there are.

    Raises:
        DrawplateError: Naming what can.
    """
    name = asked.engine
    if not settings.targets:
        raise DrawplateError(
            f"engine {name} has no targets",
            f"write engines.{name}.targets=[{','.join(settings.supports) or 'cpu'}]",
        )
    if len(set(settings.targets)) < len(settings.targets):
        raise DrawplateError(f"engine {name} names a target twice", "name each target once")
    targets = targets_of(asked, settings)
    for target in targets:
        if target not in settings.supports:
            able = [other for other, known in supported.items() if target in known]
            others = f"; engine {' or '.join(able)} knows that one" if able else ""
            raise DrawplateError(
                f"engine {name} does not know target {target!r}",
                f"it knows {', '.join(settings.supports)}{others}",
            )
    for label, step in steps.items():
        if step["kind"] != "quantize":
            continue
        form = step_format(step)
        lacking = [t for t in targets if form in settings.holds.not_on.get(t, [])]
        if lacking:
            known = targets if len(lacking) < len(targets) else settings.supports
            able = [t for t in known if form not in settings.holds.not_on.get(t, [])]
            lines = [str(Asked(asked.recipe, name, target)) for target in able]
            raise DrawplateError(
                f"variant {asked}: {', '.join(lacking)} cannot compute with the {form} weights "
                f"that step {label} stores",
                f"list {', '.join(lines)} instead" if lines else "leave the variant out",
            )
