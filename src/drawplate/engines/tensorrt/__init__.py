"""TensorRT: engines compiled from an ONNX graph, for one kind of GPU or several.

Two libraries have one interface. TensorRT for RTX (`tensorrt_rtx`) compiles ahead of time without a
GPU and finishes on the GPU it meets; TensorRT (`tensorrt`) times kernels on the very GPU, keeps what
it found in a timing cache, and knows data-centre GPUs. Both take precision from the graph alone.
"""

import shutil
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.engines.protocol import Engine
from drawplate.engines.task import CAUSAL_LM, checked_options
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {
    "library": "tensorrt_rtx",
    "version": None,
    "max_batch": 8,
    "max_new_tokens_at_once": 512,
    "max_tokens": 2048,
    "timing_cache": None,
    "timing_cache_sha256": None,
    "hardware_compatibility": None,
}
PLAN, SETTINGS = "model.plan", "engine.json"
SLACK_BYTES = 32 * 2**20
"""An engine's own code and tables, beside its weights."""


def compile(source: Path, output: Path, options: dict[str, Any], target: str) -> dict[str, Any]:
    """Compile a graph. See `drawplate.engines.protocol.FurtherCompiler`.

    Options: `library` (`tensorrt_rtx` or `tensorrt`); the sizes of the one profile, `max_batch`,
    `max_new_tokens_at_once` (of one pass, longer prompts go in pieces) and `max_tokens` (of a row,
    cache included); and of `tensorrt` alone `timing_cache`, a file that is read and never written,
    with its `timing_cache_sha256`, `version` of the library, which no lock pins, and `hardware_compatibility` (`ampere_plus`,
    `same_compute_capability`).

    Raises:
        DrawplateError: If the library is missing or refuses the graph, or an option does not fit.
    """
    from drawplate.engines.tensorrt.build import Profile, build
    from drawplate.engines.tensorrt.library import import_library

    options = checked_options(options, OPTIONS, "tensorrt")
    # No row is longer than the model was made for.
    longest = read_json(source / "config.json").get("max_position_embeddings")
    options["max_tokens"] = min(options["max_tokens"], longest or options["max_tokens"])
    options["max_new_tokens_at_once"] = min(
        options["max_new_tokens_at_once"], options["max_tokens"]
    )
    profile = Profile(
        batch=options["max_batch"],
        new=options["max_new_tokens_at_once"],
        total=options["max_tokens"],
    )
    trt = import_library(options["library"])
    if options["version"] not in (None, trt.__version__):
        raise DrawplateError(
            f"{options['library']} {trt.__version__} is here, {options['version']} is asked for",
            "install that version, or write the engine's options.version anew",
        )
    plan = build(trt, source / "model.onnx", profile, target, options)
    (output / PLAN).write_bytes(plan)
    for path in source.iterdir():
        if path.suffix not in (".onnx", ".data", ".key") and path.name != "manifest.json":
            shutil.copyfile(path, output / path.name)
    settings = {"engine": "tensorrt", "task": CAUSAL_LM, "target": target, **options}
    write_json(output / SETTINGS, {**settings, "version": trt.__version__})
    return audited(read_json(source / "manifest.json")["format"], len(plan))


def audited(label: dict[str, Any], plan_bytes: int) -> dict[str, Any]:
    """The graph's label, which is the engine's as well if the engine is as large as it says.

    What lies where in an engine is not documented, and weights are laid out anew: a whole tensor that
    was left out, or kept in a wider type, shows in its size.

    Args:
        label: Of the graph.
        plan_bytes: Size of the engine.

    Raises:
        DrawplateError: If the engine is smaller than its weights, or much larger.
    """
    weights = sum(label["tensors"].values())
    if not 0.98 * weights <= plan_bytes <= 1.25 * weights + SLACK_BYTES:
        raise DrawplateError(
            f"the engine has {plan_bytes / 1e6:.1f} MB for {weights / 1e6:.1f} MB of weights",
            "its label would not be true: report this with the graph",
        )
    return {**label, "engine_bytes": plan_bytes}


def check(folder: Path) -> dict[str, Any]:
    """What can be seen of an engine without its GPU. See `drawplate.engines.check`.

    Raises:
        DrawplateError: If it is not an engine of the installed library's version.
    """
    from drawplate.engines.tensorrt.library import import_library, validity

    settings = read_json(folder / SETTINGS)
    trt = import_library(settings["library"])
    return {
        "library": f"{settings['library']} {trt.__version__}",
        "target": settings["target"],
        **validity(trt, folder / PLAN),
    }


def load(folder: Path, threads: int) -> Engine:
    """Load an engine on the first GPU.

    Raises:
        DrawplateError: If there is no GPU, or it is another than the engine is for.
    """
    from drawplate.engines.tensorrt.library import import_library
    from drawplate.engines.tensorrt.runner import Loaded, open_engine

    settings = read_json(folder / SETTINGS)
    trt = import_library(settings["library"])
    engine, context = open_engine(trt, folder / PLAN, settings["target"])
    version = f"{settings['library']} {trt.__version__}"
    loaded: Engine = Loaded(engine, context, settings, version, folder)
    return loaded
