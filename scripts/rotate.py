"""Turn a checkpoint into another basis, where it computes the same and quantizes better."""

from typing import Any

from drawplate.build.step import StepInputs, run_step
from drawplate.rotate.step import rotate_checkpoint


def change(step: StepInputs) -> dict[str, Any]:
    """Rotate."""
    return {"rotated": rotate_checkpoint(step.parent, step.output, step.config)}


if __name__ == "__main__":
    run_step(__doc__, change)
