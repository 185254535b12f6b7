"""OpenVINO's CPU plugin: an engine's graph compiled as its settings say, for a decoder or an encoder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino

from drawplate_server.errors import StartError

GRAPH = "openvino_model.xml"


def compile_graph(folder: Path, threads: int, change: Callable[[Any], None] | None = None) -> Any:
    """Load the engine.

    Args:
        folder: The engine.
        threads: Of one pass.
        change: What is done to the graph before.

    Raises:
        StartError: If the runtime refuses it.
    """
    settings = json.loads((folder / "engine.json").read_text())
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": settings["inference_precision"],
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": settings["dynamic_quantization_group_size"],
    }
    if settings["task"] == "causal-lm":  # an encoder has no cache
        properties["KV_CACHE_PRECISION"] = settings["kv_cache_precision"]
    core = openvino.Core()
    try:
        graph = core.read_model(folder / GRAPH)
        if change is not None:
            change(graph)
        return core.compile_model(graph, "CPU", properties)
    except RuntimeError as error:
        raise StartError(f"OpenVINO does not load {folder}: {error}") from None
