"""A model cut for several ranks, run as one process a rank that add up over gloo.

What is proved here is the layout: verify holds the joint answer of the ranks against the whole
checkpoint, and a server with a GPU a rank can take the same files.
"""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.engines.label import label, quantization_method
from drawplate.engines.protocol import Engine
from drawplate.engines.task import (
    CAUSAL_LM,
    checked_options,
    copy_processing,
)
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {"ranks": 2}
SETTINGS = "engine.json"


def compile(
    checkpoint: Path, output: Path, options: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Cut a checkpoint for `ranks` ranks. See `drawplate.engines.protocol.Compiler`.

    Raises:
        DrawplateError: If the architecture, the weights' format or the ranks do not fit.
    """
    import torch

    from drawplate.checkpoint.files import open_tensors
    from drawplate.checkpoint.quantized import is_quantized
    from drawplate.engines.tensor_parallel import plan, shards

    torch.set_num_threads(threads)
    options = checked_options(options, OPTIONS, "tensor_parallel")
    ranks = options["ranks"]
    if not isinstance(ranks, int) or isinstance(ranks, bool):
        raise DrawplateError(f"ranks is {ranks!r}", "give a whole number, for example 2")
    if is_quantized(checkpoint):
        raise DrawplateError(
            f"tensor_parallel cannot cut the packed weights of {checkpoint}",
            "give it a float checkpoint",
        )
    config = read_json(checkpoint / "config.json")
    tensors = open_tensors(checkpoint)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    cuts = plan.plan_cuts(shapes, shards.widths_of(config), ranks)
    shards.write_ranks(tensors, cuts, ranks, output)
    shards.write_layout(tensors, cuts, ranks, output)
    copy_processing(checkpoint, output)
    write_json(output / SETTINGS, {"engine": "tensor_parallel", "task": CAUSAL_LM, "ranks": ranks})
    tied = bool(config.get("tie_word_embeddings"))
    return label(shards.stored_tensors(output, tied), quantization_method(checkpoint))


def load(folder: Path, threads: int) -> Engine:
    """Start a process for each rank and wait until all hold their weights.

    Raises:
        DrawplateError: If a rank's weights are missing, or a process does not come up.
    """
    from drawplate.engines.tensor_parallel.engine import TensorParallelEngine

    layout = read_json(folder / "tensor_parallel.json")
    for name in layout["folders"]:
        if not any((folder / name).glob("*.safetensors")):
            raise DrawplateError(
                f"{folder} has no {name}/model.safetensors", "compile the engine again"
            )
    return TensorParallelEngine(folder, layout, threads)
