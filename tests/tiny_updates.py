"""A tiny experiment of one variant whose base moves on: better or worse by the size of its logits."""

from pathlib import Path

VARIANTS = "variants: [float/onnxruntime]\n"
# The tiny engine takes less than a millisecond a token: its speed is mostly noise, and not what is
# tested. Twelve examples tell accuracies apart by no less than fourteen points.
LIMITS = "update: {max_slowdown: null, max_memory_increase: null, max_accuracy_drop: 0.5}\n"


def one_variant(experiment: Path) -> None:
    """Let the experiment `tiny` build its base on one engine and nothing else."""
    lines = experiment.read_text().splitlines()
    dropped = ("  - /recipe@recipes.int", "quantize:")
    kept = [line for line in lines if not line.startswith(dropped)]
    experiment.write_text("\n".join(kept) + "\n" + VARIANTS + LIMITS)


def rescale(model: Path, factor: float) -> None:
    """Change a checkpoint's weights: its logits become `factor` times as large.

    Random weights know nothing, so the smaller their logits, the lower their perplexity.
    """
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * factor
    save_file(tensors, file, metadata={"format": "pt"})
