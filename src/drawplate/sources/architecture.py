"""Whether a checkpoint holds the tensors that its architecture is made of, no fewer and no others.

transformers fills in what is missing with random numbers or ones and leaves out what it does not
know, both with no more than a warning, and the engines read what it made of the checkpoint. So the
base is held against its architecture once, before anything is built on it.
"""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.artifacts.loads import sort_tensors
from drawplate.errors import DrawplateError
from drawplate.sources.header import stored_tensors

FLOATS = ("F64", "F32", "F16", "BF16")
PROBLEMS_SHOWN = 5


def check_tokenizer(folder: Path, source: str) -> None:
    """Refuse a tokenizer that cannot be read, or that brings its own code.

    Raises:
        DrawplateError: In either case.
    """
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing more particular
        raise DrawplateError(
            f"{source} has a tokenizer.json that is none ({error})",
            "save its tokenizer again as a fast one, then pin that",
        ) from None
    settings = folder / "tokenizer_config.json"
    values = read_json(settings) if settings.exists() else {}
    if not isinstance(values, dict):
        raise DrawplateError(f"{source} has a tokenizer_config.json that is no object", "mend it")
    if values.get("auto_map"):
        raise DrawplateError(
            f"{source} asks to run code of its own (auto_map in tokenizer_config.json)",
            "choose a model whose tokenizer is part of transformers",
        )


def check_tensors(folder: Path, task: str, source: str) -> None:
    """Hold names, shapes and dtypes of the stored tensors against the architecture's.

    Nothing is loaded: headers stand for the tensors, and transformers sorts them on the meta device
    by the rules it loads by, so that tied heads, old names and buffers are known to it.

    Args:
        folder: A float checkpoint with a checked config.json.
        task: `causal-lm` or `encoder`.
        source: How messages call it.

    Raises:
        DrawplateError: If they differ, or the architecture cannot be built or is no text encoder.
    """
    stored = stored_tensors(folder, source)
    model, found = sort_tensors(folder, {n: e["shape"] for n, e in stored.items()}, source)
    if task == "encoder":
        _check_reads_text(model, source)
    parameters = {name for name, _ in model.named_parameters()}
    # A pooler is read by nothing here: sentence vectors are means of the last hidden states.
    missing = [n for n in found["missing_keys"] if task != "encoder" or not n.startswith("pooler.")]
    problems = [f"{name} is missing" for name in sorted(missing)]
    problems += [
        f"{name} has shape {list(shape)}, the architecture wants {list(wanted)}"
        for name, shape, wanted in sorted(found["mismatched_keys"])
    ]
    problems += [f"{name} is unexpected" for name in sorted(found["unexpected_keys"])]
    problems += [
        f"{name} has dtype {entry['dtype']}, the architecture wants floats"
        for name, entry in sorted(stored.items())
        if entry["dtype"] not in FLOATS
        and (name in parameters or name.endswith((".weight", ".bias")))
    ]
    if task != "encoder" and model.config.tie_word_embeddings:
        problems += _loose_head(folder, model, set(stored))
    if problems:
        more = len(problems) - PROBLEMS_SHOWN
        raise DrawplateError(
            f"{source} is not the {type(model).__name__} of its config.json: "
            + "; ".join(problems[:PROBLEMS_SHOWN])
            + (f"; and {more} more" if more > 0 else ""),
            "take config.json and weights from one revision",
        )


def _loose_head(folder: Path, model: Any, stored: set[str]) -> list[str]:
    """What is wrong with a stored head that the config says is the embedding, if anything.

    Readers differ: some take the embedding, some what is stored.
    """
    import torch
    from safetensors import safe_open

    head, table = "lm_head.weight", f"{model.base_model_prefix}.embed_tokens.weight"
    if not {head, table} <= stored:
        return []
    tensors: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors |= {name: file.get_tensor(name) for name in {head, table} & set(file.keys())}
    if torch.equal(tensors[head], tensors[table]):
        return []
    return [f"{head} is not the embedding, though tie_word_embeddings is true (or write it false)"]


def _check_reads_text(model: Any, source: str) -> None:
    """Refuse encoders of images and sound, and those that come with a decoder."""
    config = model.config
    is_text = model.main_input_name == "input_ids" and hasattr(config, "vocab_size")
    if not is_text or config.is_encoder_decoder:
        raise DrawplateError(
            f"{source} is a {type(model).__name__}, not a text encoder",
            "choose a sentence encoder, for example a BertModel",
        )
