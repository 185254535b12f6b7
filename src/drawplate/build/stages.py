"""The stages: which script runs each, and on which locked packages its bytes depend.

Packages that only check, draw progress or parse arguments are not listed: a new version of
them changes no artifact. An engine's own packages come from `conf/engine/<name>.yaml`.
"""

import dataclasses
from typing import Any

from drawplate.artifacts.manifest import MANIFEST
from drawplate.config.library_steps import by_library


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage runs and leaves.

    Attributes:
        script: Name of its script, without `.py`.
        packages: Locked packages that its bytes depend on.
        artifact: Whether it leaves an artifact with a manifest, not a measurement.
        step: Whether it is part of a chain: two of these run at a time, each on half the cores.
        gpu: Whether it computes on a GPU where the profile has one.
        alone: Whether it has all cores to itself; what is neither runs on one, several at a time.
        environment: Name of a second environment that part of its work runs in, see
            `build.environment`.
        environment_packages: Packages locked for that one that its bytes depend on.
    """

    script: str
    packages: tuple[str, ...] = ()
    artifact: bool = False
    step: bool = False
    gpu: bool = False
    alone: bool = False
    environment: str | None = None
    environment_packages: tuple[str, ...] = ()

    @property
    def record(self) -> str:
        """Name of the JSON file, key included, that it leaves in its folder."""
        special = {"report": "report.key.json"}
        return MANIFEST if self.artifact else special.get(self.script, f"{self.script}.json")


LLMCOMPRESSOR = (
    "llmcompressor",
    "compressed-tensors",
    "auto-round",
    "transformers",
    "torch",
    "safetensors",
    "numpy",
)
STAGES = {
    "data": Stage("data"),
    "base": Stage(
        "base", ("torch", "transformers", "tokenizers", "gguf", "safetensors"), artifact=True
    ),
    "quantize": Stage(
        "quantize",
        ("torch", "transformers", "compressed-tensors", "safetensors"),
        artifact=True,
        step=True,
    ),
    "quantize_library": Stage(
        "quantize_library",
        ("torch", "transformers", "compressed-tensors", "safetensors", "tokenizers"),
        artifact=True,
        step=True,
        environment="llmcompressor",
        environment_packages=LLMCOMPRESSOR,
    ),
    "sparsify": Stage(
        "sparsify",
        ("torch", "transformers", "safetensors", "tokenizers"),
        artifact=True,
        step=True,
        environment="llmcompressor",
        environment_packages=LLMCOMPRESSOR,
    ),
    "prune": Stage("prune", ("torch", "transformers", "safetensors"), artifact=True, step=True),
    "rotate": Stage("rotate", ("torch", "transformers", "safetensors"), artifact=True, step=True),
    "teacher": Stage("teacher", ("torch", "transformers", "safetensors"), step=True, gpu=True),
    "distill": Stage(
        "distill",
        ("torch", "transformers", "accelerate", "safetensors"),
        artifact=True,
        step=True,
        gpu=True,
    ),
    "recover": Stage(
        "recover",
        ("torch", "transformers", "accelerate", "peft", "safetensors"),
        artifact=True,
        step=True,
        gpu=True,
    ),
    "compile": Stage("compile", ("transformers", "safetensors"), artifact=True),
    "verify": Stage("verify", ("torch", "transformers")),
    "evaluate": Stage("evaluate", ("torch", "transformers", "lm-eval", "scipy")),
    "machine": Stage("machine", ("numpy",), alone=True),
    "benchmark": Stage("benchmark", ("numpy",), alone=True),
    "gate": Stage("gate", ("numpy", "scipy")),
    "rootfs": Stage("rootfs"),
    "package": Stage("package", ("cyclonedx-python-lib", "model-signing"), artifact=True),
    "serve": Stage(
        "serve",
        ("transformers", "tokenizers"),
        alone=True,
        environment="guidellm",
        environment_packages=("guidellm",),
    ),
    "bundle": Stage("bundle", ("jinja2", "PyYAML"), artifact=True),
    "bundle_trial": Stage("bundle_trial", ("torch", "transformers", "tokenizers"), alone=True),
    "sweep": Stage("sweep", ("numpy",), gpu=True, alone=True),
    "deploy": Stage("deploy", ("PyYAML",), artifact=True),
    "track": Stage("track", ("mlflow",)),
    "proxy": Stage("proxy", ("torch", "transformers", "compressed-tensors", "safetensors")),
    "search": Stage("search", ("optuna",)),
    "harvest": Stage("harvest"),
    "report": Stage("report", ("matplotlib", "jinja2")),
}


def stage_of(step: dict[str, Any]) -> str:
    """The stage of a recipe's step: one way to quantize leaves what the other made alone."""
    library = step["kind"] == "quantize" and by_library(step)
    return "quantize_library" if library else str(step["kind"])
