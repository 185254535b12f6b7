"""The stages: which script runs each, and on which locked packages its bytes depend.

Packages that only check, draw progress or parse arguments are not listed: a new version of
them changes no artifact. An engine's own packages come from `conf/engine/<name>.yaml`.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage's script (its name without `.py`) and packages."""

    script: str
    packages: tuple[str, ...] = ()


STAGES = {
    "data": Stage("data"),
    "base": Stage("base", ("torch", "transformers", "tokenizers", "gguf", "safetensors")),
    "quantize": Stage("quantize", ("torch", "transformers", "compressed-tensors", "safetensors")),
    "compile": Stage("compile", ("transformers", "safetensors")),
    "verify": Stage("verify", ("torch", "transformers")),
    "evaluate": Stage("evaluate", ("torch", "transformers", "lm-eval", "scipy")),
    "machine": Stage("machine", ("numpy",)),
    "benchmark": Stage("benchmark", ("numpy",)),
    "gate": Stage("gate", ("numpy", "scipy")),
    "track": Stage("track", ("mlflow",)),
    "report": Stage("report", ("matplotlib", "jinja2")),
}
