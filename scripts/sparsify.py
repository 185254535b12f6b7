"""Set weights to zero by llm-compressor, in its own environment, and reload them to compare."""

from typing import Any

from drawplate.build.step import StepInputs, run_step
from drawplate.llmcompressor.step import sparsify_checkpoint


def change(step: StepInputs) -> dict[str, Any]:
    """Sparsify."""
    return {"library": sparsify_checkpoint(step)}


if __name__ == "__main__":
    run_step(__doc__, change)
