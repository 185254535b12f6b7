"""Speculative decoding in ONNX Runtime GenAI: a draft proposes, the target decides.

Leviathan, Kalman and Matias, "Fast inference from transformers via speculative decoding", ICML
2023. The draft proposes `draft_tokens` tokens greedily; the target scores all of them in one pass
and keeps those it would have chosen itself, and one token of its own. So the answer is the
target's own greedy one, in fewer passes of the target.
"""

from pathlib import Path
from typing import Any

from drawplate.artifacts.audit import compare_tokenizer
from drawplate.artifacts.files import read_json, write_json
from drawplate.engines import onnxruntime
from drawplate.engines.onnxruntime import decoder, genai
from drawplate.engines.protocol import Engine
from drawplate.engines.speculative.label import pair_label
from drawplate.engines.task import CAUSAL_LM, checked_options, copy_processing
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {"draft": None, "draft_tokens": 4, **onnxruntime.OPTIONS}
SETTINGS = "engine.json"
TARGET, DRAFT = "target", "draft"  # folders, each a whole engine of its own
# Files that log-likelihoods depend on, and where the same ones stand in the target's own engine.
SCORED_BY = {f"{TARGET}/{name}": name for name in (decoder.LOGITS_GRAPH, decoder.WEIGHTS)}


def compile(
    checkpoint: Path, output: Path, options: dict[str, Any], threads: int, draft: Path
) -> dict[str, Any]:
    """Write the engines of target and draft, and the configuration that joins them.

    See `drawplate.engines.protocol.PairCompiler`. Options are `draft` (the recipe that drafts, for
    the record), `draft_tokens` (proposed for each pass of the target, 1 to 16) and those of
    `drawplate.engines.onnxruntime.compile`, which hold for both.

    Raises:
        DrawplateError: If the two have not the same vocabulary, or one does not compile.
    """
    options = checked_options(options, OPTIONS, "speculative")
    check_vocabulary(checkpoint, draft)
    labels = {}
    for role, source in ((TARGET, checkpoint), (DRAFT, draft)):
        (output / role).mkdir()
        own = {name: options[name] for name in onnxruntime.OPTIONS}
        labels[role] = onnxruntime.compile(source, output / role, own, threads)
    write_json(output / genai.GENAI_CONFIG, joined_config(output))
    copy_processing(checkpoint, output)
    settings = {"engine": "speculative", "task": CAUSAL_LM, "scored_by": SCORED_BY, **options}
    write_json(output / SETTINGS, settings)
    return pair_label(labels[TARGET], labels[DRAFT])


def check_vocabulary(target: Path, draft: Path) -> None:
    """Refuse a draft whose token ids mean something else to the target.

    Raises:
        DrawplateError: Naming what differs.
    """
    sizes = [read_json(folder / "config.json")["vocab_size"] for folder in (target, draft)]
    if sizes[0] != sizes[1]:
        raise DrawplateError(
            f"the draft {draft} has {sizes[1]} tokens, its target {target} {sizes[0]}",
            "draft with a model of the same vocabulary",
        )
    try:
        compare_tokenizer(target, draft)
    except DrawplateError as error:
        raise DrawplateError(
            f"the draft {draft} has another tokenizer than its target ({error.what})",
            "draft with a model of the same tokenizer",
        ) from None


def joined_config(folder: Path) -> dict[str, Any]:
    """GenAI's configuration of the pair: the target's, with the draft's decoder beside it.

    The target's graph must give the logits of every position it is shown, the draft's only those
    of the last.
    """
    config: dict[str, Any] = read_json(folder / TARGET / genai.GENAI_CONFIG)
    draft = read_json(folder / DRAFT / genai.GENAI_CONFIG)["model"]["decoder"]
    config["model"]["decoder"]["filename"] = f"{TARGET}/{decoder.LOGITS_GRAPH}"
    config["model"]["draft"] = {**draft, "filename": f"{DRAFT}/{decoder.GENERATE_GRAPH}"}
    return config


def load(folder: Path, threads: int) -> Engine:
    """Load a pair.

    Raises:
        DrawplateError: If a file is missing or the runtime refuses a graph.
    """
    from drawplate.engines.speculative.engine import SpeculativeEngine

    needed = [Path(genai.GENAI_CONFIG)]
    needed += [Path(role, name) for role in (TARGET, DRAFT) for name in decoder.FILES]
    for name in needed:
        if not (folder / name).exists():
            raise DrawplateError(f"{folder} has no {name}", "compile the engine again")
    try:
        return SpeculativeEngine(folder, read_json(folder / SETTINGS), threads)
    except Exception as error:  # the runtime raises types of its own
        raise DrawplateError(
            f"speculative cannot load {folder}: {error}", "compile the engine again"
        ) from error
