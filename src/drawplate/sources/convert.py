"""GGUF to a float checkpoint in Hugging Face format.

The tensors are read and dequantized by transformers. What it leaves behind that later readers
stumble over is put right here: the mark of a quantized model, the pre-tokenizer that the GGUF
names, floats that went through float32, and `rope_theta` where older readers look for it.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawplate.artifacts.files import need_free_bytes, read_json, write_json
from drawplate.errors import DrawplateError
from drawplate.sources.header import read_header

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer

BYTES_PER_PARAMETER = 4  # float32
# Keys that say how a checkpoint came about on this machine, not what it is.
FOREIGN_CONFIG = ("_model_name_or_path", "_name_or_path")
FOREIGN_GENERATION = ("_from_model_config", "output_attentions", "output_hidden_states")
FOREIGN_TOKENIZER = ("is_local", "local_files_only", "backend")
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
# How text is cut before byte-pair encoding, by `tokenizer.ggml.pre`; None: digits one by one, then
# GPT-2's pattern. Names and patterns as in llama.cpp's src/llama-vocab.cpp.
PRE_TOKENIZERS: dict[str, str | None] = {
    "smollm": None,
    "starcoder": None,
    "qwen2": CONTRACTIONS + WORDS % r"\p{N}",
    "llama-bpe": CONTRACTIONS + WORDS % r"\p{N}{1,3}",
    "gpt-2": "",
    "default": "",
}


def convert(gguf_file: Path, out: Path) -> None:
    """Write the checkpoint of a GGUF file: float32 weights, config, tokenizer, chat template.

    Args:
        gguf_file: One whole model.
        out: An existing, empty folder.

    Raises:
        DrawplateError: If the file is damaged, its architecture or tokenizer is not known here, or
            there is not enough disk.
    """
    fields, parameters = read_gguf_header(gguf_file)
    check_known(fields, gguf_file.name)
    need_free_bytes(out, parameters * BYTES_PER_PARAMETER, f"converting {gguf_file.name}")
    _convert_model(gguf_file, out)
    _convert_tokenizer(gguf_file, out, fields)


def read_gguf_header(gguf_file: Path) -> tuple[dict[str, Any], int]:
    """Scalar fields of a GGUF file, and how many parameters its tensors hold.

    Raises:
        DrawplateError: If it is not a whole GGUF file.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(gguf_file)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise DrawplateError(
            f"{gguf_file.name} is not a whole GGUF file ({error})", "download it again"
        ) from None
    fields = {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith("tokenizer.ggml.") or len(field.data) == 1
    }
    return fields, sum(int(tensor.n_elements) for tensor in reader.tensors)


def check_known(fields: dict[str, Any], name: str) -> None:
    """Refuse what would be converted into something else than the model.

    Raises:
        DrawplateError: For an unknown architecture or pre-tokenizer.
    """
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    known = [a for a in GGUF_SUPPORTED_ARCHITECTURES if a not in {"general", "tokenizer"}]
    architecture = fields.get("general.architecture")
    if architecture not in known:
        raise DrawplateError(
            f"{name} has the GGUF architecture {architecture!r}, which cannot be converted",
            f"known: {', '.join(known)}; or take the model's safetensors checkpoint",
        )
    pre = fields.get("tokenizer.ggml.pre", "default")
    if fields.get("tokenizer.ggml.model") == "gpt2" and pre not in PRE_TOKENIZERS:
        raise DrawplateError(
            f"{name} cuts text by the pre-tokenizer {pre!r}, which is not known here",
            f"known: {', '.join(PRE_TOKENIZERS)}; or take the model's safetensors checkpoint",
        )


def _convert_model(gguf_file: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf_file.parent), gguf_file=gguf_file.name, dtype=torch.float32
    )
    # The loader marks the model as quantized, and save_pretrained would write GGUF's numbers.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out)
    # safetensors writes for its owner alone.
    for path in out.glob("*.safetensors"):
        path.chmod(0o644)
    config = {k: _shortest(v) for k, v in read_json(out / "config.json").items()}
    theta = (config.get("rope_parameters") or {}).get("rope_theta")
    if theta is not None:
        config["rope_theta"] = theta
    write_json(out / "config.json", _without(config, FOREIGN_CONFIG))
    generation = out / "generation_config.json"
    if generation.exists():
        write_json(generation, _without(read_json(generation), FOREIGN_GENERATION))


def _convert_tokenizer(gguf_file: Path, out: Path, fields: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf_file.parent), gguf_file=gguf_file.name)
    if fields.get("tokenizer.ggml.model") == "gpt2":
        pre_tokenizer = _pre_tokenizer(fields.get("tokenizer.ggml.pre", "default"))
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.save_pretrained(out)
    settings = _without(read_json(out / "tokenizer_config.json"), FOREIGN_TOKENIZER)
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # what every reader knows
    settings["model_max_length"] = read_json(out / "config.json")["max_position_embeddings"]
    settings["clean_up_tokenization_spaces"] = False
    template = out / "chat_template.jinja"
    if template.exists():
        settings["chat_template"] = template.read_text()
    write_json(out / "tokenizer_config.json", settings)


def _pre_tokenizer(name: str) -> "PreTokenizer":
    """The pre-tokenizer that a GGUF names; transformers takes GPT-2's for most of them."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    pattern = PRE_TOKENIZERS[name]
    if pattern is None:
        return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    if not pattern:
        return ByteLevel(add_prefix_space=False)
    split = Split(Regex(pattern), behavior="isolated")
    return Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])


def _without(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in names}


def _shortest(value: Any) -> Any:
    """The shortest decimal that is the same float32: GGUF turns 1e-05 into 9.999999747e-06."""
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    single = struct.pack("<f", value)
    if struct.unpack("<f", single)[0] != value:
        return value
    digits = (float(f"{value:.{n}g}") for n in range(1, 18))
    return next(d for d in digits if struct.pack("<f", d) == single)


def count_parameters(folder: Path) -> int:
    """Trainable numbers of a safetensors checkpoint, read from the headers; tied ones once."""
    tied = read_json(folder / "config.json").get("tie_word_embeddings", False)
    count = 0
    for path in sorted(folder.glob("*.safetensors")):
        for name, entry in read_header(path).items():
            integer = entry["dtype"].startswith(("I", "U", "B"))  # position ids and the like
            is_float = entry["dtype"] == "BF16" or not integer
            if is_float and not (tied and name == "lm_head.weight"):
                count += math.prod(entry["shape"])
    return count
