"""Quantize a float checkpoint by llm-compressor, in its own environment, and reload it to compare."""

from typing import Any

from drawplate.build.step import StepInputs, run_step
from drawplate.llmcompressor.step import quantize_checkpoint


def change(step: StepInputs) -> dict[str, Any]:
    """Quantize."""
    return {"library": quantize_checkpoint(step)}


if __name__ == "__main__":
    run_step(__doc__, change)
