"""Which files of a checkpoint are taken, and which checkpoints are refused.

Pickled weights run code when they are opened, and so does a `config.json` with `auto_map`. Neither
enters a build: safetensors and GGUF hold tensors and nothing else.
"""

import fnmatch
from pathlib import PurePosixPath
from typing import Any

from drawplate.errors import DrawplateError
from drawplate.sources.archive import fits

SAFETENSORS = ("*.safetensors", "*.safetensors.index.json")
GGUF = ("*.gguf",)
UNSAFE = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.h5", "*.ckpt", "*.msgpack", "*.joblib")
BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
    # sentence encoders: how token vectors become one
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "LICENSE*",
)


def wanted_files(names: list[str], source: str) -> list[str]:
    """The files of a checkpoint that a build uses, out of all relative paths it has.

    Only files of one folder count (that of the weights), since repositories keep copies for other
    runtimes in sub-folders (`onnx/`, `openvino/`, `original/`).

    Raises:
        DrawplateError: If there are no weights, only unsafe ones, or several GGUF files.
    """
    safe = [n for n in names if fits(n, SAFETENSORS)]
    gguf = [n for n in names if fits(n, GGUF)]
    if not safe and not gguf:
        unsafe = [n for n in names if fits(n, UNSAFE)]
        if unsafe:
            raise DrawplateError(
                f"{source} has its weights only as {unsafe[0]}, a format that can run code",
                "use a revision with safetensors or GGUF, or convert it on a machine you trust",
            )
        raise DrawplateError(f"{source} has no weights", "it needs *.safetensors or one *.gguf")
    if not safe:
        if len(gguf) > 1:
            raise DrawplateError(
                f"{source} has several GGUF files: {', '.join(sorted(gguf))}",
                "name one of them in the source's files",
            )
        return gguf
    folder = min((str(PurePosixPath(n).parent) for n in safe), key=lambda p: (p.count("/"), p))
    root = "" if folder == "." else folder + "/"
    inside = [n for n in names if n.startswith(root)]
    return sorted(
        n
        for n in inside
        if any(fnmatch.fnmatch(n.removeprefix(root), g) for g in BESIDE)
        or ("/" not in n.removeprefix(root) and fits(n, SAFETENSORS))
    )


def check_config(config: Any, source: str) -> None:
    """Refuse a model that brings its own code, or whose weights are not the floats to start from.

    Raises:
        DrawplateError: If `config.json` is no model's, asks for `trust_remote_code` in any of its
            forms, or says that the weights are quantized.
    """
    if not isinstance(config, dict):
        raise DrawplateError(f"{source} has a config.json that is no object", "is it a checkpoint?")
    if config.get("auto_map") or config.get("trust_remote_code") or config.get("custom_pipelines"):
        raise DrawplateError(
            f"{source} asks to run code of its own (auto_map in config.json)",
            "choose a model whose architecture is part of transformers",
        )
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise DrawplateError(
            f"{source} names no architecture in config.json",
            'add "architectures": ["LlamaForCausalLM"] or whatever the model is',
        )
    if declared := config.get("quantization_config"):
        method = declared.get("quant_method") if isinstance(declared, dict) else declared
        raise DrawplateError(
            f"{source} says that it is quantized already ({method} in config.json)",
            "start from the model's float weights, or take quantization_config out if they are",
        )
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise DrawplateError(f"{source} has no model_type in config.json", "is it a checkpoint?")
