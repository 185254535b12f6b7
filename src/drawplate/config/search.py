"""A search: the space of recipes, how many are tried, and how losers are told; see `conf/search/`."""

import difflib
import itertools
import math
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from drawplate.config.explain import in_words
from drawplate.config.sections import Count, Filled, Name, Section, Seed, matching
from drawplate.config.steps import Step

NONE = "none"  # the choice of a link that adds no step
LARGEST_SPACE = 100_000  # recipes; all of them are looked at when the configuration is checked
Value = bool | int | float | str

# Without -, which joins labels to a recipe's name.
StepName = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9_]{0,19}",
        "write at most 20 lower-case letters, digits and _, the first a letter or digit",
    ),
]


class Proxy(Section):
    """The cheap measurement that decides who goes on."""

    windows: Count
    window_tokens: Annotated[int, Field(ge=2, le=10**9)]
    max_loss: Annotated[float, Field(gt=0)] | None


class Search(Section):
    """The space, the optimizer's budget and the survivors."""

    steps: dict[StepName, Step] = Field(min_length=1)
    chain: dict[Name, list[Filled]] = Field(min_length=1)
    vary: dict[StepName, dict[Filled, list[Value]]] = Field({})
    trials: Count
    generation: Count
    startup: Count
    survivors: Count
    seed: Seed
    proxy: Proxy
    recipes: list[str] | None = None

    @model_validator(mode="after")
    def _space(self) -> "Search":
        for link, choices in self.chain.items():
            _check_choices(f"chain.{link}", choices, [NONE, *self.steps], self._fitting(link))
        if NONE in self.steps:
            raise ValueError("a step cannot be called none, which means no step; rename it")
        for label, settings in self.vary.items():
            if label not in self.steps:
                raise ValueError(f"vary.{label}: {_unknown(label, list(self.steps))}")
            for setting, values in settings.items():
                _check_setting(f"vary.{label}.{setting}", self.steps[label], setting, values)
            _check_values(label, self.steps[label], settings)
        size = math.prod(
            sum(self._settings(choice) for choice in choices) for choices in self.chain.values()
        )
        if size > LARGEST_SPACE:
            raise ValueError(
                f"the space holds {size:,} recipes; name fewer values, for {LARGEST_SPACE:,} at most"
            )
        return self

    def _fitting(self, link: str) -> list[str]:
        """What a link may sensibly choose: steps of its kind, and those that no other link has."""
        others = {c for name, choices in self.chain.items() if name != link for c in choices}
        kinds = {link, *(self.steps[c].kind for c in self.chain[link] if c in self.steps)}
        fitting = [s for s, step in self.steps.items() if step.kind in kinds or s not in others]
        return [NONE, *(fitting or self.steps)]

    def _settings(self, choice: str) -> int:
        return math.prod(len(values) for values in self.vary.get(choice, {}).values())


def _check_choices(place: str, choices: list[str], known: list[str], fitting: list[str]) -> None:
    for choice in choices:
        if choice not in known:
            raise ValueError(f"{place}: {_unknown(choice, fitting)}")
    if not choices:
        raise ValueError(f"{place} is empty; write at least one choice")
    if len(set(choices)) < len(choices):
        raise ValueError(f"{place} names a choice twice; name each once")


def _check_setting(place: str, step: Any, setting: str, values: list[Value]) -> None:
    known = [name for name in type(step).model_fields if name != "kind"]
    if setting not in known:
        raise ValueError(f"{place}: {_unknown(setting, known)}")
    if not values:
        raise ValueError(f"{place} is empty; write at least one value")
    if len({value_label(value) for value in values}) < len(values):
        raise ValueError(f"{place} names a value twice; name each once")
    for value in values:
        label = value_label(value)
        if not label or not set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789_"):
            raise ValueError(f"{place}: {value!r} cannot become a part of a folder's name")


def _check_values(label: str, step: Any, settings: dict[str, list[Value]]) -> None:
    """Refuse a value that no combination with the others makes possible, and equal labels."""
    possible: set[tuple[str, Value]] = set()
    problems: dict[tuple[str, Value], str] = {}
    labels: set[str] = set()
    for values in itertools.product(*settings.values()):
        chosen = dict(zip(settings, values, strict=True))
        labels.add(step_label(label, chosen))
        _, problem = varied(step, chosen)
        for item in chosen.items():
            if problem is None:
                possible.add(item)
            else:
                problems.setdefault(item, problem)
    for item, problem in problems.items():
        if item not in possible:
            raise ValueError(f"vary.{label}.{item[0]} = {item[1]!r} is wrong: {problem}")
    if len(labels) < math.prod(len(values) for values in settings.values()):
        raise ValueError(f"vary.{label}: two of its settings give one label; rename a value")


def varied(step: Any, values: dict[str, Value]) -> tuple[dict[str, Any] | None, str | None]:
    """A step with other values, as plain data, or what is wrong with them.

    Args:
        step: The starting point, a checked step.
        values: By setting.
    """
    try:
        checked = type(step).model_validate({**step.model_dump(), **values})
    except ValidationError as error:
        return None, in_words(error.errors()[0])
    plain: dict[str, Any] = checked.model_dump(mode="json")
    return plain, None


def step_label(label: str, values: dict[str, Value]) -> str:
    """A step's label with the settings it was given: `int4` and group size 32 are `int4_gs32`.

    A setting shows by the initials of its name, or in full where another one of the step has the
    same initials; 0.25 is written 0p25.
    """
    initials = {name: "".join(word[0] for word in name.split("_") if word) for name in values}
    short = [
        initials[name] if list(initials.values()).count(initials[name]) == 1 else name
        for name in values
    ]
    return "_".join(
        [
            label,
            *(f"{name}{value_label(v)}" for name, v in zip(short, values.values(), strict=True)),
        ]
    )


def value_label(value: Value) -> str:
    """A value as a part of a label."""
    return str(value).lower().replace(".", "p").replace("-", "m")


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"there is no {name!r} here; {hint}choose one of {', '.join(known)}"
