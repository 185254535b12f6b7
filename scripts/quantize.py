"""Quantize a float checkpoint to 8 or 4 bits and store it in the compressed-tensors form."""

from typing import Any

from drawplate.build.step import StepInputs, run_step
from drawplate.quantize.losses import layer_losses
from drawplate.quantize.step import quantize_checkpoint


def change(step: StepInputs) -> dict[str, Any]:
    """Quantize."""
    forms, measured = quantize_checkpoint(
        step.parent, step.data, step.output, step.config, step.resume, step.threads
    )
    losses = layer_losses(step.parent, step.output, measured)
    return {"form_by_unit": forms, "layer_losses": losses}


if __name__ == "__main__":
    run_step(__doc__, change)
