"""Both steps of llm-compressor as a whole: asked, stored, reloaded, compared."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from drawplate.artifacts.files import read_json
from drawplate.artifacts.formats import STORED_BY
from drawplate.artifacts.sparsity import check_zeros
from drawplate.build.environment import interpreter
from drawplate.build.step import StepInputs
from drawplate.checkpoint.files import open_tensors
from drawplate.checkpoint.quantized import is_quantized
from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_windows
from drawplate.layerwise.decoder import open_skeleton
from drawplate.limits import check_group_size
from drawplate.llmcompressor import reload, worker
from drawplate.llmcompressor.call import ask
from drawplate.llmcompressor.store import store_quantized, store_sparse

ENVIRONMENT = "llmcompressor"
CALIBRATION = Path("texts", "calibration.jsonl")
HELD_OUT_WINDOWS = 4
WINDOW_TOKENS = 256
"""Of the held-out windows of a method that needs no calibration."""
TOLERANCE = {"float32": 1e-3, "bfloat16": 1e-2}
"""By how much a perplexity may differ after the reload, as a share of it."""
GROUPS = {"nvfp4": 16}
"""Columns that share a scale, where the format and not the step's config says so."""


def quantize_checkpoint(step: StepInputs) -> dict[str, Any]:
    """Quantize by a method of llm-compressor.

    Args:
        step: `config` is that of a model in `config.library_steps`.

    Returns:
        `perplexity` on held-out calibration windows (`before`, `in_memory`, `reloaded`, `windows`,
        `tokens`), `tools`, `seconds` and `peak_rss_bytes` of the other environment's process.

    Raises:
        DrawplateError: If the parent does not fit, the library fails, or the stored checkpoint has
            another perplexity than the one in memory.
    """
    method = step.config["method"]
    group_size = step.config.get("group_size", GROUPS.get(method, 1))
    tables = _checked(step.parent, group_size, step.config.get("float_layers", []))
    dtype = "bfloat16" if method == "nvfp4" else _dtype(step.parent)
    halved = tables if dtype == "float32" else set()
    held_out, answer = _work(step, dtype, half_tables=bool(halved))
    saved = _scratch(step) / "saved"
    store_quantized(step.parent, saved, step.output, STORED_BY[method], halved)
    return _compared(step, held_out, answer, dtype)


def sparsify_checkpoint(step: StepInputs) -> dict[str, Any]:
    """Set weights to zero by SparseGPT or Wanda; the checkpoint stays dense.

    Args:
        step: `config` is that of `config.library_steps.SparsifyStep`.

    Returns:
        As `quantize_checkpoint`, and `sparsity` as counted in the stored tensors.

    Raises:
        DrawplateError: As `quantize_checkpoint`, and if the zeros are not those declared.
    """
    _checked(step.parent)
    dtype = _dtype(step.parent)
    held_out, answer = _work(step, dtype, half_tables=False)
    store_sparse(step.parent, _scratch(step) / "saved", step.output)
    counted = check_zeros(step.output, step.config["sparsity"], step.config["pattern"])
    return {**_compared(step, held_out, answer, dtype), "sparsity": counted}


def _checked(parent: Path, group_size: int = 1, float_layers: Sequence[str] = ()) -> set[str]:
    """Refuse a parent that the library could not work on; names of its embedding and head tensors.

    Raises:
        DrawplateError: If it is quantized, no language model, its widths do not fit, or `float_layers`
            names a layer that is not there, or all that are.
    """
    if is_quantized(parent):
        raise DrawplateError(f"{parent} is quantized already", "put the quantize step last")
    skeleton = open_skeleton(parent)
    head = skeleton.get_output_embeddings()
    if head is None:
        raise DrawplateError(
            f"{parent} is a {type(skeleton).__name__}, no language model", "use method: rtn"
        )
    tables = (skeleton.get_input_embeddings(), head)
    names = set()
    for name, module in skeleton.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            check_group_size(module.in_features, group_size, name)
            names.add(name.rpartition(".")[2])
    if unknown := sorted({*float_layers} - names):
        raise DrawplateError(
            f"float_layers names {unknown[0]}, which is no linear layer of {parent}",
            f"choose some of {', '.join(sorted(names))}",
        )
    if names <= {*float_layers}:
        raise DrawplateError(
            "float_layers names every linear layer, so that nothing is left to quantize",
            "leave some of them out",
        )
    return {f"{name}.weight" for name, module in skeleton.named_modules() if module in tables}


def _dtype(parent: Path) -> str:
    """What the library computes in: the parent's own dtype, but float32 for float16."""
    config = read_json(parent / "config.json")
    named = config.get("dtype") or config.get("torch_dtype")
    if named is None:
        named = str(next(iter(open_tensors(parent).values())).dtype).removeprefix("torch.")
    return named if named in TOLERANCE else "float32"


def _work(
    step: StepInputs, dtype: str, *, half_tables: bool
) -> tuple[list[list[int]], dict[str, Any]]:
    """Have the library do the step into the scratch folder; held-out windows and its answer."""
    count = step.config.get("windows", 0)
    windows = read_windows(
        step.data / CALIBRATION,
        step.parent / "tokenizer.json",
        count + HELD_OUT_WINDOWS,
        step.config.get("window_tokens", WINDOW_TOKENS),
    ).tolist()
    # Spread like the others, so that they are of the same texts.
    places = [i * len(windows) // HELD_OUT_WINDOWS for i in range(HELD_OUT_WINDOWS)]
    held_out = [windows[i] for i in places]
    request = {
        "method": step.config["method"],
        "options": step.config,
        "parent": str(step.parent.absolute()),
        "output": str(_scratch(step).absolute() / "saved"),
        "windows": [w for i, w in enumerate(windows) if i not in places],
        "held_out": held_out,
        "dtype": dtype,
        "half_tables": half_tables,
        "packages": sorted(step.environments[ENVIRONMENT]),
        "threads": step.threads,
    }
    # Isolated: neither this environment's PYTHONPATH nor the folder of the worker is searched.
    command = [str(interpreter(ENVIRONMENT, Path.cwd())), "-I", str(Path(worker.__file__))]
    answer = ask(command, request, _scratch(step), f"llm-compressor ({request['method']})")
    if answer["tools"] != step.environments[ENVIRONMENT]:
        raise DrawplateError(
            "the environment of llm-compressor is not what its lock says", "run make llmcompressor"
        )
    return held_out, answer


def _compared(
    step: StepInputs, held_out: list[list[int]], answer: dict[str, Any], dtype: str
) -> dict[str, Any]:
    """Reload the finished folder in plain transformers and hold it against the model in memory.

    Raises:
        DrawplateError: If it is incomplete, or its perplexity is another one.
    """
    shutil.rmtree(_scratch(step))
    request = {
        "folder": str(step.output.absolute()),
        "held_out": held_out,
        "dtype": dtype,
        "threads": step.threads,
    }
    command = [sys.executable, "-m", reload.__name__]
    reloaded = ask(command, request, _scratch(step), "reloading it in plain transformers")
    shutil.rmtree(_scratch(step))
    if reloaded["incomplete"]:
        names = ", ".join(reloaded["incomplete"][:3])
        raise DrawplateError(f"the stored checkpoint lacks {names}", "report this as a bug")
    before, after = answer["perplexity"], reloaded["perplexity"]
    if not abs(after - before) <= TOLERANCE[dtype] * before:  # a NaN fails too
        raise DrawplateError(
            f"perplexity is {before:.5g} in memory and {after:.5g} after the reload",
            "the library and transformers do not agree on this format; choose another method",
        )
    return {
        "perplexity": {
            "text": "held-out calibration windows",
            "windows": len(held_out),
            "tokens": sum(len(window) - 1 for window in held_out),
            "before": answer["perplexity_before"],
            "in_memory": before,
            "reloaded": after,
        },
        **{name: answer[name] for name in ("tools", "seconds", "peak_rss_bytes")},
    }


def _scratch(step: StepInputs) -> Path:
    """Where requests, answers and the library's own form stand; gone before the step is done."""
    return step.output / ".library"
