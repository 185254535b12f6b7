"""ONNX Runtime: GenAI for language models, plain sessions for encoders."""

import shutil
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.engines.label import activations_rounded, label, quantization_method
from drawplate.engines.onnxruntime import decoder, encoder, genai
from drawplate.engines.protocol import Engine
from drawplate.engines.task import (
    CAUSAL_LM,
    ENCODER,
    checked_options,
    copy_processing,
    task_of,
)
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {"accuracy_level": 4, "table_dtype": "float16", "session_options": {}}
SETTINGS = "engine.json"


def compile(
    checkpoint: Path, output: Path, options: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Write an ONNX Runtime engine. See `drawplate.engines.protocol.Compiler`.

    Options are `accuracy_level` (of `MatMulNBits`: 4 rounds activations to int8, 0 keeps them
    float32), `table_dtype` (`float16` or `float32`: embedding tables that a quantized checkpoint
    leaves in float) and `session_options` (session config entries used at load).

    Raises:
        DrawplateError: If the architecture, an option or the checkpoint's format does not fit.
    """
    import onnx
    import torch

    from drawplate.checkpoint.quantized import (
        check_packed,
        dequantized_copy,
        is_quantized,
        read_quantized,
    )
    from drawplate.engines.onnxruntime.graph import prune, quantize_graph
    from drawplate.engines.onnxruntime.stored import stored_tensors
    from drawplate.engines.onnxruntime.weights import read_weights, write_weights
    from drawplate.engines.placement import Placement

    torch.set_num_threads(threads)
    options = checked_options(options, OPTIONS, "onnxruntime")
    task = task_of(checkpoint)
    kind = decoder if task == CAUSAL_LM else encoder
    if task == CAUSAL_LM:  # the integer products of rounded activations are for encoders
        check_packed(checkpoint, "onnxruntime")
    scratch = output / ".scratch"
    scratch.mkdir()
    source = checkpoint
    if is_quantized(checkpoint):
        source = scratch / "float"
        source.mkdir()
        dequantized_copy(checkpoint, source)
    kind.build_graph(source, scratch / "graph")
    model = onnx.load(scratch / "graph" / "model.onnx", load_external_data=False)
    arrays = read_weights(model, scratch / "graph")
    if task == ENCODER:
        states = [o for o in model.graph.output if o.name == encoder.STATES]
        del model.graph.output[:]
        model.graph.output.extend(states)
    prune(model, arrays)
    if is_quantized(checkpoint):
        placement = Placement(dict(read_quantized(checkpoint)))
        quantize_graph(model, arrays, placement, options["accuracy_level"], options["table_dtype"])
    write_weights(model, arrays, output)
    if task == CAUSAL_LM:
        decoder.write_graphs(model, output)
        shutil.copyfile(scratch / "graph" / genai.GENAI_CONFIG, output / genai.GENAI_CONFIG)
    else:
        encoder.write_graph(model, output)
    del arrays
    shutil.rmtree(scratch)
    copy_processing(checkpoint, output)
    write_json(output / SETTINGS, {"engine": "onnxruntime", "task": task, **options})
    return label(
        stored_tensors(output / "model.onnx"),
        quantization_method(checkpoint),
        activations_rounded(checkpoint),
    )


def load(folder: Path, threads: int) -> Engine:
    """Load an ONNX Runtime engine.

    Raises:
        DrawplateError: If a file is missing or the runtime refuses the graph.
    """
    settings = read_json(folder / SETTINGS)
    module = decoder if settings["task"] == CAUSAL_LM else encoder
    for name in module.FILES:
        if not (folder / name).exists():
            raise DrawplateError(f"{folder} has no {name}", "compile the engine again")
    try:
        engine: Engine = module.Loaded(folder, threads, settings["session_options"])
    except Exception as error:  # the runtimes raise types of their own
        raise DrawplateError(
            f"onnxruntime cannot load {folder}: {error}", "compile the engine again"
        ) from error
    return engine
