"""From a search's space to recipes: every chain it holds, with its name or why it cannot be built."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from drawplate.config.search import NONE, Search, Value, step_label, varied
from drawplate.config.steps import check_chain

BASE = "base"  # name of the chain without steps
LONGEST_NAME = 54  # of a recipe; its file may be called NAME-found.yaml, and a name has 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe that a space holds.

    Attributes:
        name: Its labels joined by `-`; names and chains are in one-to-one correspondence.
        choices: What the optimizer chooses, in its order: `<link>` and `<link>.<step>.<setting>`.
        steps: The recipe's steps by label, plain data.
        problem: Why it cannot be built, None if it can.
    """

    name: str
    choices: dict[str, Value]
    steps: dict[str, dict[str, Any]]
    problem: str | None

    @property
    def lineage(self) -> str:
        """Lineage of its last checkpoint."""
        return ".".join(["base", *self.steps])


Options = list[tuple[str | None, dict[str, Value], dict[str, Any], str | None]]


def candidates(
    search: Search, no_engine: Callable[[dict[str, dict[str, Any]]], str | None]
) -> dict[str, Candidate]:
    """Every recipe of a space by its name.

    Args:
        search: The checked section.
        no_engine: Tells of a recipe's steps why no engine of the experiment can hold them, or None.
    """
    found: dict[str, Candidate] = {}
    for links in itertools.product(
        *(list(_options(search, link, choices)) for link, choices in search.chain.items())
    ):
        chosen = {name: value for _, choices, _, _ in links for name, value in choices.items()}
        taken = [(label, step) for label, _, step, _ in links if label is not None]
        steps = dict(taken)
        labels = [label for label, _ in taken]
        name = "-".join(labels) or BASE
        problem = next((p for *_, p in links if p), None)
        if problem is None and len(steps) < len(taken):
            problem = f"it has step {max(labels, key=labels.count)} twice"
        problem = problem or _chain_problem(name, steps) or no_engine(steps)
        found.setdefault(name, Candidate(name=name, choices=chosen, steps=steps, problem=problem))
    return found


def _options(search: Search, link: str, choices: list[str]) -> Iterator[Any]:
    """What a link may be: label (None for no step), choices, step, what is wrong with it."""
    for choice in choices:
        if choice == NONE:
            yield None, {link: NONE}, {}, None
            continue
        settings = search.vary.get(choice, {})
        for values in itertools.product(*settings.values()):
            chosen = dict(zip(settings, values, strict=True))
            step, problem = varied(search.steps[choice], chosen)
            told = {f"{link}.{choice}.{name}": value for name, value in chosen.items()}
            label = step_label(choice, chosen)
            wrong = f"step {label}: {problem}" if problem else None
            yield label, {link: choice, **told}, step or {}, wrong


def _chain_problem(name: str, steps: dict[str, dict[str, Any]]) -> str | None:
    if not steps:
        return "it is the base itself, which is measured anyway"
    if len(name) > LONGEST_NAME:
        return f"its name has {len(name)} characters, more than {LONGEST_NAME}; shorten the labels"
    try:
        check_chain(name, steps)
    except ValueError as error:
        return str(error).removeprefix(f"recipes.{name}: ")
    return None
