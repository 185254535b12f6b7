"""Train a checkpoint on text, by adapters or as a whole, to win back what was lost."""

from typing import Any

from drawplate.build.step import StepInputs, run_step
from drawplate.recover.step import recover_checkpoint


def change(step: StepInputs) -> dict[str, Any]:
    """Recover."""
    facts = recover_checkpoint(
        step.parent, step.data, step.output, step.config, step.resume, step.threads
    )
    return {"training": facts}


if __name__ == "__main__":
    run_step(__doc__, change)
