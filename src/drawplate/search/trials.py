"""What became of each trial, and who goes on: plain data and pure functions."""

import dataclasses
from typing import Any

MEASURED, FAILED, INFEASIBLE, REPEATED, WAITING = (
    "measured",
    "failed",
    "infeasible",
    "repeated",
    "waiting",
)
# What the proxy's loss is, of a language model and of an encoder.
KL, COSINE = "kl_to_base_nats", "cosine_distance_to_base"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One proposal of the optimizer.

    Attributes:
        number: Counted from 0.
        recipe: Name of the recipe.
        generation: In which it was proposed, counted from 0.
        status: measured, failed (its build), infeasible (never built), repeated (proposed before:
            told the same again), waiting (for its build).
        loss: Distance from the base by the proxy, None where not measured.
        bytes: What its checkpoint stores, None where not measured.
        reason: Why it failed or cannot be built.
    """

    number: int
    recipe: str
    generation: int
    status: str
    loss: float | None = None
    bytes: int | None = None
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What building and measuring a recipe gave: both numbers, or the reason why not."""

    loss: float | None
    bytes: int | None
    reason: str | None = None


def choose(
    trials: list[Trial], base_bytes: int, most: int, max_loss: float | None
) -> tuple[list[str], dict[str, str]]:
    """The recipes that go on, and why each of the others does not.

    Those go on that nothing dominates in loss and bytes, the base among them (it has loss 0). If they
    are too many, the one in the most crowded place leaves, again and again: the crowding distance of
    Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002).

    Args:
        trials: All of them.
        base_bytes: What the base's checkpoint stores.
        most: How many may go on.
        max_loss: Whoever loses more is stopped; None for no limit.

    Returns:
        Names sorted by bytes, and a sentence for every other trial's recipe.
    """
    points: dict[str, tuple[float, int]] = {}
    stopped: dict[str, str] = {}
    for trial in trials:
        if trial.loss is not None and trial.bytes is not None:
            points[trial.recipe] = (trial.loss, trial.bytes)
        elif trial.status in (FAILED, INFEASIBLE):
            stopped[trial.recipe] = trial.reason or "no reason was left"
    rivals = {"base": (0.0, base_bytes), **points}
    kept = []
    for name, point in points.items():
        rival = next((n for n, other in rivals.items() if _dominates(other, point)), None)
        if max_loss is not None and point[0] > max_loss:
            stopped[name] = f"its loss {point[0]:.3g} is above the limit of {max_loss:g}"
        elif rival is not None:
            stopped[name] = f"{rival} loses no more and is no larger"
        else:
            kept.append(name)
    kept.sort(key=lambda name: (points[name][1], name))
    kept = _without_equals(kept, points, stopped)
    while len(kept) > most:
        crowded = _most_crowded([points[name] for name in kept])
        stopped[kept.pop(crowded)] = f"more than {most} were left, and others lie close to it"
    return kept, stopped


def _dominates(one: tuple[float, int], other: tuple[float, int]) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def _without_equals(
    names: list[str], points: dict[str, tuple[float, int]], stopped: dict[str, str]
) -> list[str]:
    first: dict[tuple[float, int], str] = {}
    for name in names:
        if points[name] in first:
            stopped[name] = f"it equals {first[points[name]]} in loss and size"
        else:
            first[points[name]] = name
    return list(first.values())


def _most_crowded(points: list[tuple[float, int]]) -> int:
    """Index of the point with the smallest crowding distance; the ends are the last to leave.

    Args:
        points: A front sorted by bytes, so that losses fall.
    """
    if len(points) < 3:
        return len(points) - 1  # one place: the smallest stays
    span_loss = (points[0][0] - points[-1][0]) or 1.0
    span_bytes = (points[-1][1] - points[0][1]) or 1
    distances = [
        (points[i - 1][0] - points[i + 1][0]) / span_loss
        + (points[i + 1][1] - points[i - 1][1]) / span_bytes
        for i in range(1, len(points) - 1)
    ]
    return 1 + distances.index(min(distances))


def story(
    trials: list[Trial], kept: list[str], stopped: dict[str, str], base_bytes: int, task: str
) -> dict[str, Any]:
    """A search's result, plain data: every trial with what became of it."""
    measure = KL if task == "causal-lm" else COSINE
    rows = []
    for trial in trials:
        row = dataclasses.asdict(trial)
        if trial.status == MEASURED:
            row["status"] = "survived" if trial.recipe in kept else "stopped"
            row["reason"] = stopped.get(trial.recipe)
        elif trial.status == REPEATED:
            row["reason"] = "proposed before"
        rows.append(row)
    return {"trials": rows, "survivors": kept, "base_bytes": base_bytes, "measure": measure}
