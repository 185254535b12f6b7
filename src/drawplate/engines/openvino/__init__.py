"""OpenVINO on the CPU, for language models and encoders."""

import shutil
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.engines.label import label, quantization_method
from drawplate.engines.protocol import Engine
from drawplate.engines.task import (
    CAUSAL_LM,
    checked_options,
    copy_processing,
    task_of,
)
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {
    "inference_precision": "f32",
    "kv_cache_precision": "f32",
    "dynamic_quantization_group_size": 32,
    "table_dtype": "float16",
}
GRAPH = "openvino_model.xml"
SETTINGS = "engine.json"


def compile(
    checkpoint: Path, output: Path, options: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Write an OpenVINO engine. See `drawplate.engines.protocol.Compiler`.

    Options are `inference_precision` (`f32`, or `bf16` for faster prefill), `kv_cache_precision`
    (`f32`, `f16`, `u8`), `dynamic_quantization_group_size` (activations are rounded to int8 in
    groups of so many columns in front of compressed weights; 0 keeps them in float) and
    `table_dtype` (`float16` or `float32`: embedding tables that a quantized checkpoint leaves in
    float).

    Raises:
        DrawplateError: If the architecture, an option or the checkpoint's format does not fit.
    """
    import openvino
    import torch

    from drawplate.checkpoint.quantized import (
        check_packed,
        dequantized_copy,
        is_quantized,
        read_quantized,
    )
    from drawplate.engines.openvino.compress import compress, stored_tensors
    from drawplate.engines.openvino.export import export_decoder, export_encoder
    from drawplate.engines.placement import Placement

    torch.set_num_threads(threads)
    options = checked_options(options, OPTIONS, "openvino")
    task = task_of(checkpoint)
    check_packed(checkpoint, "openvino")
    scratch = output / ".scratch"
    scratch.mkdir()
    source = scratch if is_quantized(checkpoint) else checkpoint
    if is_quantized(checkpoint):
        dequantized_copy(checkpoint, source)
    graph = export_decoder(source) if task == CAUSAL_LM else export_encoder(source)
    if is_quantized(checkpoint):
        compress(graph, Placement(dict(read_quantized(checkpoint))), options["table_dtype"])
    openvino.save_model(graph, output / GRAPH, compress_to_fp16=False)
    shutil.rmtree(scratch)
    copy_processing(checkpoint, output)
    write_json(output / SETTINGS, {"engine": "openvino", "task": task, **options})
    finished = openvino.Core().read_model(output / GRAPH)
    return label(stored_tensors(finished), quantization_method(checkpoint))


def load(folder: Path, threads: int) -> Engine:
    """Load an OpenVINO engine.

    Raises:
        DrawplateError: If a file is missing or the runtime refuses the graph.
    """
    from drawplate.engines.openvino.engine import OpenVinoEngine

    for name in (GRAPH, GRAPH.replace(".xml", ".bin")):
        if not (folder / name).exists():
            raise DrawplateError(f"{folder} has no {name}", "compile the engine again")
    settings = read_json(folder / SETTINGS)
    try:
        return OpenVinoEngine(folder / GRAPH, settings, threads)
    except RuntimeError as error:
        raise DrawplateError(
            f"openvino cannot load {folder}: {error}", "compile the engine again"
        ) from error
