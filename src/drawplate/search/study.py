"""The optimizer: Optuna's TPE over the space, its trials in an SQLite file. No other module imports it.

Whatever happens between two lines, the next run goes on as if nothing had: all state is in the
file, and each proposal's random numbers are seeded by how many were made before it.
"""

import random
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from drawplate.config.search import NONE
from drawplate.config.space import Candidate
from drawplate.search.trials import (
    FAILED,
    INFEASIBLE,
    MEASURED,
    REPEATED,
    WAITING,
    Outcome,
    Trial,
)

ATTEMPTS = 8  # proposals without a new recipe before one is drawn from those not tried
LOCK_SECONDS = 60
Study = optuna.Study


def open_study(path: Path, name: str) -> Study:
    """The study of a name in an SQLite file, made if it is not there.

    A trial that a killed run left half proposed is given up.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}}
    )
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=["minimize", "minimize"],  # loss, bytes
        load_if_exists=True,
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "recipe" not in trial.user_attrs:
            study.tell(trial.number, state=TrialState.FAIL)
    return study


def trials(study: Study) -> list[Trial]:
    """Every proposal so far."""
    found = study.get_trials(deepcopy=False)
    return [_trial(study, t) for t in found if "recipe" in t.user_attrs]


def _trial(study: Study, trial: FrozenTrial) -> Trial:
    status = {
        TrialState.COMPLETE: MEASURED,
        TrialState.PRUNED: INFEASIBLE,
        TrialState.FAIL: FAILED,
    }.get(trial.state, WAITING)
    repeated = trial.user_attrs.get("repeated", False) and status != WAITING
    measured = trial.state == TrialState.COMPLETE
    return Trial(
        number=trial.number,
        recipe=trial.user_attrs["recipe"],
        generation=trial.user_attrs["generation"],
        status=REPEATED if repeated else status,
        loss=trial.values[0] if measured else None,
        bytes=int(trial.values[1]) if measured else None,
        reason=study.user_attrs.get(f"reason.{trial.number}"),
    )


def propose(
    study: Study,
    candidates: dict[str, Candidate],
    settings: dict[str, Any],
    generation: int,
    size: int,
) -> list[str]:
    """Fill a generation with recipes that were not proposed before.

    Args:
        study: See `open_study`.
        candidates: Every recipe of the space, by name.
        settings: The search's section: `chain`, `vary`, `seed`, `startup`.
        generation: Its number.
        size: How many recipes it wants.

    Returns:
        Its recipes; fewer if the space holds no more.
    """
    while True:
        _settle(study, candidates)
        known = trials(study)
        tried = {t.recipe for t in known}
        fresh = _first_seen(known, candidates)
        own = [name for name, first in fresh.items() if first == generation]
        untried = sorted(n for n, c in candidates.items() if not c.problem and n not in tried)
        if len(own) >= size or not untried:
            return own
        seed = settings["seed"] + len(known)
        queued = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not queued and _fruitless(known, fresh, generation) >= ATTEMPTS:
            drawn = candidates[random.Random(seed).choice(untried)].choices
            study.enqueue_trial(drawn)
        _propose_one(study, candidates, settings, generation, seed, known)


def _first_seen(known: list[Trial], candidates: dict[str, Candidate]) -> dict[str, int]:
    """The generation in which each recipe that can be built was first proposed."""
    seen: dict[str, int] = {}
    for trial in known:
        if not candidates[trial.recipe].problem:
            seen.setdefault(trial.recipe, trial.generation)
    return seen


def _fruitless(known: list[Trial], fresh: dict[str, int], generation: int) -> int:
    """Proposals of a generation since the last one that brought a new recipe."""
    count, seen = 0, {name for name, first in fresh.items() if first < generation}
    for trial in known:
        if trial.generation != generation:
            continue
        new = trial.recipe in fresh and trial.recipe not in seen
        count = 0 if new else count + 1
        seen.add(trial.recipe)
    return count


def _propose_one(
    study: Study,
    candidates: dict[str, Candidate],
    settings: dict[str, Any],
    generation: int,
    seed: int,
    known: list[Trial],
) -> None:
    study.sampler = _sampler(seed, settings["startup"])
    trial = study.ask()
    choices = _suggest(trial, settings)
    name = next(n for n, c in candidates.items() if c.choices == choices)
    trial.set_user_attr("generation", generation)
    trial.set_user_attr("repeated", name in {t.recipe for t in known})
    trial.set_user_attr("recipe", name)  # last: with it the proposal counts


def _settle(study: Study, candidates: dict[str, Candidate]) -> None:
    """Tell what is known without building: that a chain cannot be, or what it came to before."""
    known = trials(study)
    settled = {t.recipe: t for t in known if t.status != WAITING}
    for trial in known:
        if trial.status != WAITING:
            continue
        if problem := candidates[trial.recipe].problem:
            study.set_user_attr(f"reason.{trial.number}", problem)
            study.tell(trial.number, state=TrialState.PRUNED)
        elif before := settled.get(trial.recipe):
            tell(study, trial.recipe, Outcome(before.loss, before.bytes, before.reason))


def _sampler(seed: int, startup: int) -> Any:
    """TPE for several objectives (Ozaki et al., 2020).

    It looks at the joint distribution of each group of settings that occur together; trials that
    still wait count as bad, so that a generation spreads.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=startup,
            multivariate=True,
            group=True,
            constant_liar=True,
        )


def _suggest(trial: optuna.Trial, settings: dict[str, Any]) -> dict[str, Any]:
    """One choice of each link, then the settings of the step that was chosen."""
    choices: dict[str, Any] = {}
    for link, steps in settings["chain"].items():
        choice = trial.suggest_categorical(link, steps)
        choices[link] = choice
        if choice == NONE:
            continue
        for setting, values in settings["vary"].get(choice, {}).items():
            name = f"{link}.{choice}.{setting}"
            choices[name] = trial.suggest_categorical(name, values)
    return choices


def tell(study: Study, recipe: str, outcome: Outcome) -> None:
    """Tell what a recipe came to, to every trial that waits for it."""
    for trial in trials(study):
        if trial.recipe != recipe or trial.status != WAITING:
            continue
        if outcome.loss is None or outcome.bytes is None:
            study.set_user_attr(f"reason.{trial.number}", outcome.reason)
            study.tell(trial.number, state=TrialState.FAIL)
        else:
            study.tell(trial.number, [outcome.loss, float(outcome.bytes)])
