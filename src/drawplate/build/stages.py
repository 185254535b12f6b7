"""The stages: which script runs each, and on which locked packages its bytes depend.

Packages that only check, draw progress or parse arguments are not listed: a new version of
them changes no artifact. An engine's own packages come from `conf/engine/<name>.yaml`.
"""

import dataclasses

from drawplate.artifacts.manifest import MANIFEST


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage runs and leaves.

    Attributes:
        script: Name of its script, without `.py`.
        packages: Locked packages that its bytes depend on.
        artifact: Whether it leaves an artifact with a manifest, not a measurement.
    """

    script: str
    packages: tuple[str, ...] = ()
    artifact: bool = False

    @property
    def record(self) -> str:
        """Name of the JSON file, key included, that it leaves in its folder."""
        special = {"report": "report.key.json"}
        return MANIFEST if self.artifact else special.get(self.script, f"{self.script}.json")


STAGES = {
    "data": Stage("data"),
    "base": Stage(
        "base", ("torch", "transformers", "tokenizers", "gguf", "safetensors"), artifact=True
    ),
    "quantize": Stage(
        "quantize", ("torch", "transformers", "compressed-tensors", "safetensors"), artifact=True
    ),
    "prune": Stage("prune", ("torch", "transformers", "safetensors"), artifact=True),
    "rotate": Stage("rotate", ("torch", "transformers", "safetensors"), artifact=True),
    "teacher": Stage("teacher", ("torch", "transformers", "safetensors")),
    "distill": Stage(
        "distill", ("torch", "transformers", "accelerate", "safetensors"), artifact=True
    ),
    "recover": Stage(
        "recover", ("torch", "transformers", "accelerate", "peft", "safetensors"), artifact=True
    ),
    "compile": Stage("compile", ("transformers", "safetensors"), artifact=True),
    "verify": Stage("verify", ("torch", "transformers")),
    "evaluate": Stage("evaluate", ("torch", "transformers", "lm-eval", "scipy")),
    "machine": Stage("machine", ("numpy",)),
    "benchmark": Stage("benchmark", ("numpy",)),
    "gate": Stage("gate", ("numpy", "scipy")),
    "track": Stage("track", ("mlflow",)),
    "proxy": Stage("proxy", ("torch", "transformers", "compressed-tensors", "safetensors")),
    "search": Stage("search", ("optuna",)),
    "harvest": Stage("harvest"),
    "report": Stage("report", ("matplotlib", "jinja2")),
}
