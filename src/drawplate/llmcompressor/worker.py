"""What runs in the environment of llm-compressor: `python worker.py REQUEST.json`.

The request and the answer are JSON files, progress goes to standard output in lines. It imports
nothing of Drawplate: the standard library at its head, the other environment's packages inside
functions. The main environment imports it too, for its place and for `perplexity`, which both sides
must compute alike.

Methods and the papers they come from: AWQ (Lin et al., 2023, arXiv 2306.00978), AutoRound (Cheng et
al., 2023, arXiv 2309.05516), SmoothQuant (Xiao et al., 2022, arXiv 2211.10438), FP8 (Micikevicius et
al., 2022, arXiv 2209.05433), NVFP4 (NVIDIA, 2025), SparseGPT (Frantar and Alistarh, 2023, arXiv
2301.00774), Wanda (Sun et al., 2023, arXiv 2306.11695).
"""

import functools
import json
import math
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

HEAD = "lm_head"


def perplexity(model: Any, windows: Sequence[Sequence[int]]) -> float:
    """Perplexity of a language model over windows of one length, each by itself.

    Args:
        model: A causal language model of transformers.
        windows: Token ids [windows, tokens].
    """
    import torch

    nats = 0.0
    for window in windows:
        token_ids = torch.tensor([list(window)])
        with torch.no_grad():
            logits = model(input_ids=token_ids, use_cache=False).logits[0, :-1].float()
        scores = torch.log_softmax(logits, dim=-1)
        nats -= float(scores.gather(1, token_ids[0, 1:, None]).double().sum())
    mean = nats / sum(len(window) - 1 for window in windows)
    return math.exp(mean) if mean < 700 else math.inf


def main(request_file: Path) -> None:
    """Do what a request asks for and write the answer beside it.

    The request holds `method`, `options` (of the step), `parent` (a float checkpoint), `output` (a
    folder for the library's own form), `windows` and `held_out` (token ids), `dtype` (of the
    computation), `half_tables` (whether embedding and head are rounded to float16), `packages` and
    `threads`. The answer holds `perplexity_before` and `perplexity` on the held-out windows,
    `tools` (installed versions of the packages), `seconds` and `peak_rss_bytes`.

    Args:
        request_file: JSON; the answer is written to `answer.json` in its folder.
    """
    started = time.monotonic()
    request = json.loads(request_file.read_text())
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(request["threads"])
    _seed(request["options"].get("seed", 0))
    dtype = getattr(torch, request["dtype"])
    model = AutoModelForCausalLM.from_pretrained(
        request["parent"], dtype=dtype, local_files_only=True, trust_remote_code=False
    ).eval()
    before = perplexity(model, request["held_out"])
    if request["half_tables"]:
        _halve_tables(model)
    _say(f"{request['method']}: perplexity {before:.4g} on held-out windows before")
    _compress(model, request)
    after = perplexity(model, request["held_out"])
    _say(f"{request['method']}: perplexity {after:.4g} in memory after")
    model.save_pretrained(request["output"], save_compressed=True)
    answer = {
        "perplexity_before": before,
        "perplexity": after,
        "tools": {name: _version(name) for name in request["packages"]},
        "seconds": round(time.monotonic() - started, 1),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    request_file.with_name("answer.json").write_text(json.dumps(answer))


def _compress(model: Any, request: dict[str, Any]) -> None:
    """Run llm-compressor on a model in memory."""
    import torch
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    if not torch.accelerator.is_available():
        # AWQ pins memory for a GPU wherever it runs; without one that raises.
        IntermediatesCache.pin_memory = lambda *_, **__: None
    _count_parts(request["method"])
    batches = _loader(request["windows"]) if request["windows"] else None
    oneshot(model=model, recipe=RECIPES[request["method"]](request["options"]), dataset=batches)


def _loader(windows: list[list[int]]) -> Any:
    """Calibration batches of one window each."""
    import torch

    rows = [
        {"input_ids": torch.tensor(w), "attention_mask": torch.ones(len(w), dtype=torch.int64)}
        for w in windows
    ]
    return torch.utils.data.DataLoader(rows, batch_size=1)


def _linear(**weights: Any) -> dict[str, Any]:
    """Settings of a modifier that quantizes every linear layer but the head."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
    return {"config_groups": {"group_0": scheme}, "ignore": [HEAD]}


def _int4(options: dict[str, Any]) -> dict[str, Any]:
    return _linear(
        num_bits=4,
        type="int",
        symmetric=options["symmetric"],
        strategy="group",
        group_size=options["group_size"],
    )


def _awq(options: dict[str, Any]) -> list[Any]:
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    return [AWQModifier(n_grid=options["grid"]), QuantizationModifier(**_int4(options))]


def _autoround(options: dict[str, Any]) -> list[Any]:
    import auto_round
    from llmcompressor.modifiers.autoround import AutoRoundModifier, base

    # Its mixed precision would leave the layers in bfloat16 and the rest of the model in float32.
    base.AutoRound = functools.partial(auto_round.AutoRound, amp=False)
    settings = {"iters": options["iterations"], "batch_size": options["batch_windows"]}
    return [AutoRoundModifier(**_int4(options), **settings, enable_torch_compile=False)]


def _smoothquant(options: dict[str, Any]) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    rounding = {"gptq": GPTQModifier, "nearest": QuantizationModifier}[options["rounding"]]
    how: dict[str, Any] = {"targets": "Linear", "scheme": "W8A8"}
    if options["method"].endswith("-static"):
        how = _static("int")
    how["ignore"] = [HEAD, *(rf"re:.*\.{name}$" for name in options["float_layers"])]
    return [
        SmoothQuantModifier(smoothing_strength=options["smoothing_strength"]),
        rounding(**how),
    ]


def _fp8(options: dict[str, Any]) -> list[Any]:
    from llmcompressor.modifiers.quantization import QuantizationModifier

    return [QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=[HEAD])]


def _fp8_static(options: dict[str, Any]) -> list[Any]:
    from llmcompressor.modifiers.quantization import QuantizationModifier

    return [QuantizationModifier(**_static("float"))]


def _static(kind: str) -> dict[str, Any]:
    """Eight bits, weights with a scale a row, each input with one fixed scale, none off zero."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    common = {"num_bits": 8, "type": kind, "symmetric": True, "dynamic": False}
    scheme = QuantizationScheme(
        targets=["Linear"],
        weights=QuantizationArgs(strategy="channel", **common),
        input_activations=QuantizationArgs(strategy="tensor", **common),
    )
    return {"config_groups": {"group_0": scheme}, "ignore": [HEAD]}


def _nvfp4(options: dict[str, Any]) -> list[Any]:
    from llmcompressor.modifiers.quantization import QuantizationModifier

    return [QuantizationModifier(targets="Linear", scheme="NVFP4", ignore=[HEAD])]


def _sparse(options: dict[str, Any]) -> dict[str, Any]:
    mask = {"2:4": "2:4", "unstructured": "0:0"}[options["pattern"]]
    settings = {"sparsity": options["sparsity"], "mask_structure": mask}
    return {**settings, "targets": ["Linear"], "ignore": [f"re:.*{HEAD}"]}


def _sparsegpt(options: dict[str, Any]) -> list[Any]:
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    return [SparseGPTModifier(**_sparse(options))]


def _wanda(options: dict[str, Any]) -> list[Any]:
    from llmcompressor.modifiers.pruning import WandaPruningModifier

    return [WandaPruningModifier(**_sparse(options))]


RECIPES: dict[str, Callable[[dict[str, Any]], list[Any]]] = {
    "awq": _awq,
    "autoround": _autoround,
    "smoothquant-w8a8": _smoothquant,
    "smoothquant-w8a8-static": _smoothquant,
    "fp8": _fp8,
    "fp8-static": _fp8_static,
    "nvfp4": _nvfp4,
    "sparsegpt": _sparsegpt,
    "wanda": _wanda,
}


def _halve_tables(model: Any) -> None:
    """Round embedding and head to float16, in which the checkpoint stores them.

    They are the largest matrices of a small model, and no method here touches them.
    """
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        module.weight.data.copy_(module.weight.data.half())


def _count_parts(method: str) -> None:
    """Say how far the library is whenever it has finished a layer."""
    from llmcompressor.core import LifecycleCallbacks

    finish, done, started = LifecycleCallbacks.sequential_epoch_end, [0], time.monotonic()

    def counted(*arguments: Any, **settings: Any) -> Any:
        result = finish(*arguments, **settings)
        done[0] += 1
        _say(f"{method}: {done[0]} parts done, {time.monotonic() - started:.0f} s")
        return result

    LifecycleCallbacks.sequential_epoch_end = counted


def _seed(seed: int) -> None:
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _version(name: str) -> str:
    """Version of an installed package as a lock names it: without the build it is of."""
    return metadata.version(name).partition("+")[0]


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - standard output is how it is heard


if __name__ == "__main__":
    main(Path(sys.argv[1]))
