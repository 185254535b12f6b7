"""Train a checkpoint towards the answers of a teacher."""

from typing import Any

from drawplate.build.step import StepInputs, run_step
from drawplate.distill.step import distill_checkpoint


def change(step: StepInputs) -> dict[str, Any]:
    """Distill."""
    facts = distill_checkpoint(
        step.parent,
        step.data,
        step.others["teacher"],
        step.output,
        step.config,
        step.resume,
        step.threads,
        step.others.get("live_teacher"),
    )
    return {"training": facts}


if __name__ == "__main__":
    run_step(
        __doc__,
        change,
        others={"teacher": "folder of the teacher stage"},
        optional={"live_teacher": "the teacher's checkpoint, for a student that writes windows"},
    )
