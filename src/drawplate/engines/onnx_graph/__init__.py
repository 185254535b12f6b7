"""ONNX graphs with a key/value cache, for compilers that take precision from the graph.

The graph computes in the dtype that it is exported in and holds a quantized checkpoint's own numbers
behind `DequantizeLinear`. It is an engine as well: ONNX Runtime runs it on the CPU, slowly, so that
what a compiler is given is known to answer as its checkpoint does.
"""

import shutil
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.engines.label import activations_rounded, label, quantization_method
from drawplate.engines.protocol import Engine
from drawplate.engines.task import CAUSAL_LM, checked_options, copy_processing, task_of
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {"dtype": "float16"}
DTYPES = ("float16", "bfloat16", "float32")
GRAPH, WEIGHTS, SETTINGS = "model.onnx", "model.onnx.data", "engine.json"


def compile(
    checkpoint: Path, output: Path, options: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Write a graph. See `drawplate.engines.protocol.Compiler`.

    The only option is `dtype`, of activations, cache and whatever weights are not quantized:
    `float16`, `bfloat16` or `float32`.

    Raises:
        DrawplateError: If the option, the task or the checkpoint's format does not fit.
    """
    import onnx
    import torch

    from drawplate.checkpoint.quantized import dequantized_copy, is_quantized
    from drawplate.engines.onnx_graph.export import export_decoder
    from drawplate.engines.onnx_graph.quantize import quantize_graph
    from drawplate.engines.onnx_graph.stored import stored_tensors
    from drawplate.engines.onnxruntime.graph import prune
    from drawplate.engines.onnxruntime.weights import read_weights, write_weights

    torch.set_num_threads(threads)
    options = checked_options(options, OPTIONS, "onnx_graph")
    if options["dtype"] not in DTYPES:
        raise DrawplateError(
            f"onnx_graph cannot export in {options['dtype']}", f"choose from {', '.join(DTYPES)}"
        )
    if task_of(checkpoint) != CAUSAL_LM:
        raise DrawplateError(f"{checkpoint} is an encoder", "choose engine onnxruntime")
    scratch = output / ".scratch"
    scratch.mkdir()
    source = checkpoint
    if is_quantized(checkpoint):
        source = scratch / "float"
        source.mkdir()
        dequantized_copy(checkpoint, source)
    export_decoder(source, scratch / "graph", options["dtype"])
    model = onnx.load(scratch / "graph" / GRAPH, load_external_data=False)
    arrays = read_weights(model, scratch / "graph")
    if is_quantized(checkpoint):
        quantize_graph(model, arrays, checkpoint)
    prune(model, arrays)
    write_weights(model, arrays, output)
    onnx.save(model, output / GRAPH)
    del arrays
    shutil.rmtree(scratch)
    copy_processing(checkpoint, output)
    write_json(output / SETTINGS, {"engine": "onnx_graph", "task": CAUSAL_LM, **options})
    return label(
        stored_tensors(output / GRAPH),
        quantization_method(checkpoint),
        activations_rounded(checkpoint),
    )


def load(folder: Path, threads: int) -> Engine:
    """Load a graph in ONNX Runtime, on the CPU.

    Raises:
        DrawplateError: If a file is missing or the runtime refuses the graph.
    """
    from drawplate.engines.onnx_graph.engine import Loaded

    for name in (GRAPH, WEIGHTS):
        if not (folder / name).exists():
            raise DrawplateError(f"{folder} has no {name}", "compile the engine again")
    engine: Engine = Loaded(folder, read_json(folder / SETTINGS)["dtype"], threads)
    return engine
