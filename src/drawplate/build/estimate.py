"""What a build will need, told before it runs: memory, disk and minutes of each stage.

The figures are rules of thumb from the sizes of the model, or, where the stage ran before on
this machine, what it took then; each row says which of the two it is.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from drawplate.build.hardware import cores
from drawplate.build.plan import Node, Plan, json_or_none

GIB = 2**30
BYTES_PER_PARAMETER = 4  # base checkpoints are kept in float32
RUNTIME_BYTES = 0.6 * GIB  # Python with PyTorch and an engine, nothing loaded
# (copies of the float32 weights in memory, copies written to disk,
#  core-minutes per 1e9 parameters, core-minutes at least)
COSTS = {
    "machine": (0.0, 0.0, 0.0, 0.3),
    "data": (0.0, 0.0, 0.0, 0.3),
    "base": (2.0, 1.4, 1.0, 0.3),
    "prune": (1.5, 0.9, 10.0, 0.3),
    "teacher": (2.0, 0.3, 15.0, 0.3),
    "distill": (4.5, 3.0, 120.0, 0.5),  # weights, gradients and two moments of AdamW
    "recover": (4.5, 3.0, 120.0, 0.5),
    "quantize": (1.5, 0.6, 40.0, 0.3),
    "quantize_library": (3.0, 0.6, 40.0, 1.0),
    "sparsify": (3.0, 1.0, 20.0, 1.0),
    "compile": (4.0, 1.1, 6.0, 0.3),
    "verify": (2.2, 0.0, 2.0, 0.3),
    "evaluate": (2.2, 0.0, 10.0, 0.3),
    "benchmark": (2.5, 0.0, 8.0, 0.5),
    "gate": (0.0, 0.0, 0.0, 0.05),
    "track": (0.0, 0.0, 0.0, 0.2),
    "report": (0.0, 0.0, 0.0, 0.2),
}


@dataclasses.dataclass(frozen=True)
class Need:
    """What one job will need. `measured` tells a former run's figures from rules of thumb."""

    stage: str
    name: str
    memory_bytes: float
    disk_bytes: float
    minutes: float
    measured: bool


def need(node: Node, parameters: float, root: Path) -> Need:
    """Need of one node, from its former run if there was one, else from the model's size."""
    copies, written, per_billion, least = COSTS[node.stage]
    weights = parameters * BYTES_PER_PARAMETER
    disk = written * weights
    former = json_or_none(root / node.record)
    if former and former.get("seconds") and former.get("peak_rss_bytes"):
        return Need(
            node.stage,
            node.name,
            float(former["peak_rss_bytes"]),
            disk,
            former["seconds"] / 60,
            True,
        )
    minutes = max(least, per_billion * parameters / 1e9 / cores())
    memory = RUNTIME_BYTES + copies * weights if copies else 0.25 * GIB
    return Need(node.stage, node.name, memory, disk, minutes, False)


def known_parameters(plan: Plan, root: Path) -> int:
    """Parameters of the base: counted when it was fetched, else as declared, else 0."""
    (node,) = plan.of("base")
    manifest = root / node.folder / "manifest.json"
    if manifest.exists():
        counted: int = json.loads(manifest.read_text())["base"]["parameters"]
        return counted
    if plan.base["parameters"]:
        return int(plan.base["parameters"])
    source = plan.base["source"]
    folder = Path(source.get("path") or "")
    weights = folder.glob("*.safetensors") if source["kind"] == "folder" else ()
    return sum(p.stat().st_size for p in weights) // BYTES_PER_PARAMETER


def needs(plan: Plan, parameters: float, root: Path) -> list[Need]:
    """Needs of every job that a build would run, in order."""
    return [need(node, parameters, root) for node in plan.stale(root)]


def predictions(plan: Plan, parameters: float, root: Path) -> dict[str, dict[str, Any]]:
    """What every stale job is expected to need, by its digest, to be held against what it took."""
    return {
        node.digest: dataclasses.asdict(need(node, parameters, root)) for node in plan.stale(root)
    }
