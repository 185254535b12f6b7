"""ONNX Runtime GenAI as engines use it: opened on the CPU, greedy, stopped by the caller alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.artifacts.files import read_json

GENAI_CONFIG = "genai_config.json"


def end_token(folder: Path) -> int:
    """The token id that GenAI ends a row at.

    When to stop is the caller's to say, but GenAI insists on an end token: the rarest one. A caller
    that meets it goes on with a new generator behind it.
    """
    return int(read_json(folder / GENAI_CONFIG)["model"]["vocab_size"]) - 1


def open_model(
    folder: Path,
    threads: int,
    session_options: dict[str, str],
    models: tuple[str, ...] = ("decoder",),
) -> Any:
    """A model of GenAI, or several that its configuration joins.

    Args:
        folder: Where `genai_config.json` stands.
        threads: Threads of one operator.
        session_options: Session config entries, for example `session.intra_op.allow_spinning`.
        models: Their names in the configuration.
    """
    import onnxruntime_genai

    session = {"session_options": {"intra_op_num_threads": threads, **session_options}}
    model = {"eos_token_id": end_token(folder), **dict.fromkeys(models, session)}
    config = onnxruntime_genai.Config(str(folder))
    config.overlay(json.dumps({"model": model}))
    return onnxruntime_genai.Model(config)


def open_generator(
    model: Any, tokens: NDArray[np.int64], total_tokens: int, draft_tokens: int | None = None
) -> Any:
    """A greedy generator that has read `tokens`.

    Args:
        model: See `open_model`.
        tokens: Token ids [batch, sequence].
        total_tokens: Tokens of a row that it has room for.
        draft_tokens: Proposed for each pass of the target, of a pair.
    """
    import onnxruntime_genai

    params = onnxruntime_genai.GeneratorParams(model)
    params.set_search_options(max_length=total_tokens, batch_size=len(tokens), do_sample=False)
    if draft_tokens is not None:
        params.set_speculative_options(max_draft_tokens=draft_tokens)
    generator = onnxruntime_genai.Generator(model, params)
    generator.append_tokens(tokens.astype(np.int32))
    return generator


def version() -> str:
    """Name and version of the runtime."""
    import onnxruntime_genai

    return f"onnxruntime-genai {onnxruntime_genai.__version__}"
