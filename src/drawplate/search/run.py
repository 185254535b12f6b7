"""The search: generation by generation, proposed, built, told."""

from collections.abc import Callable
from typing import Any

from drawplate.config.space import Candidate
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.search.study import Study, propose, tell, trials
from drawplate.search.trials import WAITING, Outcome, Trial

Build = Callable[[list[str]], dict[str, Outcome]]


def run_search(
    study: Study, candidates: dict[str, Candidate], settings: dict[str, Any], build: Build
) -> list[Trial]:
    """Go on with a study until it has the trials that are wanted, or the space has no more.

    Args:
        study: See `study.open_study`.
        candidates: Every recipe of the space, by name.
        settings: The search's section as plain data.
        build: Builds and measures recipes, see `generation.build_generation`.

    Returns:
        Every proposal with what became of it.

    Raises:
        DrawplateError: If nothing could be measured. Nothing is told then, so that the next run
            tries the same again.
    """
    generation, left = 0, settings["trials"]
    while left > 0:
        size = min(settings["generation"], left)
        names = propose(study, candidates, settings, generation, size)
        if not names:
            break
        known = trials(study)
        waiting = {t.recipe for t in known if t.status == WAITING}
        if waiting:
            say(f"search, generation {generation}: {', '.join(names)}")
            outcomes = build(names)
            measured = any(t.loss is not None for t in known)
            if not measured and all(outcome.loss is None for outcome in outcomes.values()):
                raise DrawplateError(
                    f"search: none of the first {len(names)} recipes could be measured",
                    f"{names[0]}: {outcomes[names[0]].reason}",
                )
            for name in names:
                tell(study, name, outcomes[name])
                say(f"search: {name}: {_in_words(outcomes[name])}")
        generation, left = generation + 1, left - len(names)
    return trials(study)


def _in_words(outcome: Outcome) -> str:
    if outcome.loss is None or outcome.bytes is None:
        return f"failed: {outcome.reason}"
    return f"loss {outcome.loss:.4f}, {outcome.bytes / 1e6:.1f} MB"
