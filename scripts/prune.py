"""Prune a float checkpoint to a smaller dense one of the same architecture."""

from typing import Any

from drawplate.build.step import StepInputs, run_step
from drawplate.prune.step import prune_checkpoint


def change(step: StepInputs) -> dict[str, Any]:
    """Prune."""
    pruned = prune_checkpoint(
        step.parent, step.data, step.output, step.config, step.resume, step.threads
    )
    return {"pruned": pruned}


if __name__ == "__main__":
    run_step(__doc__, change)
