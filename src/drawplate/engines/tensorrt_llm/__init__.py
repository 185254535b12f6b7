"""Checkpoints as TensorRT-LLM loads them: it compiles no engines any more, and serves a folder.

`trtllm-serve FOLDER` takes a float checkpoint, compressed-tensors' FP8 with a scale a row and a
token, and ModelOpt's own form of INT4. Beyond writing and checking such a folder nothing of it runs
here: its library is not among the locked packages.
"""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.engines.protocol import Engine
from drawplate.engines.task import CAUSAL_LM, checked_options, copy_processing
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {"dtype": "float16"}
DTYPES = ("float16", "bfloat16")
SETTINGS = "engine.json"


def compile(source: Path, output: Path, options: dict[str, Any], target: str) -> dict[str, Any]:
    """Write the folder. See `drawplate.engines.protocol.FurtherCompiler`.

    The source is the reference engine of the checkpoint, which has passed its gate. The only option
    is `dtype`, of float weights and activations: `float16` or `bfloat16`.

    Raises:
        DrawplateError: If the option or the checkpoint's form does not fit.
    """
    from drawplate.checkpoint.quantized import PACKED_FORM, stored_form
    from drawplate.engines.tensorrt_llm import modelopt
    from drawplate.engines.transformers import checkpoint_of

    options = checked_options(options, OPTIONS, "tensorrt_llm")
    if options["dtype"] not in DTYPES:
        raise DrawplateError(
            f"tensorrt_llm computes in no {options['dtype']}", f"choose from {', '.join(DTYPES)}"
        )
    checkpoint = checkpoint_of(source)
    copy_processing(checkpoint, output)
    if stored_form(checkpoint) == PACKED_FORM:
        modelopt.write_int4(checkpoint, output, options["dtype"])
    else:
        modelopt.write_float(checkpoint, output, options["dtype"])
    write_json(
        output / SETTINGS,
        {"engine": "tensorrt_llm", "task": CAUSAL_LM, "target": target, **options},
    )
    label: dict[str, Any] = modelopt.label(output, read_json(source / "manifest.json")["format"])
    return label


def check(folder: Path) -> dict[str, Any]:
    """Hold the folder against the form that TensorRT-LLM reads. See `drawplate.engines.check`.

    Raises:
        DrawplateError: Naming the tensor or entry that does not fit.
    """
    from drawplate.engines.tensorrt_llm.form import check_form

    return {"target": read_json(folder / SETTINGS)["target"], **check_form(folder)}


def load(folder: Path, threads: int) -> Engine:
    """Refused: TensorRT-LLM is served, not driven from here.

    Raises:
        DrawplateError: Always.
    """
    raise DrawplateError(
        f"{folder} is for TensorRT-LLM, which is not run from here",
        f"serve it where that is installed: trtllm-serve {folder}",
    )
