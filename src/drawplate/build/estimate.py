"""What a build will need, told before it runs: memory, disk and minutes of every job.

Computed from the sizes in the base's config.json, followed through the steps of each recipe (see
`shapes`, `after` and `costs`); where a job of this very config ran before on this machine, memory and time
are what it took then. Each row says which of the two it is.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import MANIFEST, lists_files
from drawplate.build.after import after_step
from drawplate.build.costs import cost
from drawplate.build.gpus import Gpu
from drawplate.build.hardware import cores
from drawplate.build.job import ANY
from drawplate.build.plan import Node, Plan, json_or_none
from drawplate.build.shapes import Architecture, Model, architecture_of, guessed
from drawplate.build.stages import STAGES
from drawplate.build.work import TORCH_BYTES, Cost, Work
from drawplate.errors import DrawplateError

GIB = 2**30
PORTABLE = "portable"
GUESS = "a guess from base.parameters"
NOT_KNOWN = "nothing: the base's sizes are not known before it is fetched"


@dataclasses.dataclass(frozen=True)
class Need:
    """What one job will need.

    Attributes:
        stage: Of the job.
        name: Of the job.
        memory_bytes: Peak resident set.
        disk_bytes: On disk while it runs: its result, and what it deletes at its end.
        minutes: From start to end.
        measured: Whether memory and minutes are a former run's, and not computed from sizes.
        mapped_bytes: Part of the memory that is pages of files, which the kernel can take back.
        result_bytes: Part of the disk that its result keeps.
        gpu_bytes: Of the memory, what would lie on a GPU.
        gpu: The kind of GPU that it wants, see `plan.Node.gpu`.
        threads: Cores it takes; jobs run side by side where these are fewer than all.
    """

    stage: str
    name: str
    memory_bytes: float
    disk_bytes: float
    minutes: float
    measured: bool
    mapped_bytes: float = 0.0
    result_bytes: float = 0.0
    gpu_bytes: float = 0.0
    gpu: str | None = None
    threads: int = 1

    @property
    def least_memory_bytes(self) -> float:
        """Memory below which the job would be killed."""
        return self.memory_bytes - self.mapped_bytes


def known_sizes(
    plan: Plan, root: Path, fetched: dict[str, Any] | None = None
) -> tuple[Architecture | None, str]:
    """The base's sizes, and where they come from in words.

    Args:
        plan: Of the build.
        root: The repository.
        fetched: Entries of the config.json of a base that is on a hub.
    """
    node = plan.of("base")[0]  # students come after it
    places = _places(node, plan.base["source"], root)
    places.append((plan.base.get("architecture"), "base.architecture as declared"))
    places.append((fetched, "the hub's config.json"))
    for config, words in places:
        sizes = architecture_of(config) if isinstance(config, dict) else None
        if sizes is not None:
            return sizes, words
    if plan.base["parameters"]:
        return guessed(int(plan.base["parameters"])), GUESS
    return None, NOT_KNOWN


def _places(node: Node, source: dict[str, Any], root: Path) -> list[tuple[Any, str]]:
    """What the files of a fetched checkpoint say that are here already, and where they stand."""
    places: list[tuple[Any, str]] = []
    if node.fresh(root):
        built = root / node.folder / "config.json"
        places.append((json_or_none(built), str(node.folder / "config.json")))
    if source["kind"] == "folder":
        given = Path(source["path"]).expanduser() / "config.json"
        places.append((json_or_none(root / given) if given.parent.is_dir() else None, str(given)))
    return places


def needs(plan: Plan, sizes: Architecture | None, root: Path) -> list[Need]:
    """Needs of every job that a build would run, in order."""
    models = models_of(plan, sizes, root)
    return [_need(node, plan, models, root) for node in plan.stale(root)]


def predictions(needs_of_jobs: list[Need], plan: Plan, root: Path) -> dict[str, dict[str, Any]]:
    """What every stale job is expected to need, by its digest, to be held against what it took."""
    pairs = zip(plan.stale(root), needs_of_jobs, strict=True)
    return {node.digest: dataclasses.asdict(row) for node, row in pairs}


def disk_bytes(rows: list[Need]) -> float:
    """Free disk that all jobs need: every result, and the largest of what is deleted again."""
    scratch = (row.disk_bytes - row.result_bytes for row in rows)
    return sum(row.result_bytes for row in rows) + max(scratch, default=0.0)


def build_minutes(rows: list[Need]) -> float:
    """Minutes of a build whose jobs fill all cores as well as can be: no build takes less."""
    return sum(row.minutes * min(row.threads / cores(), 1) for row in rows)


def obstacles(
    rows: list[Need], memory_bytes: int, free_bytes: int, gpus: Sequence[Gpu] = ()
) -> list[str]:
    """What cannot fit, one line each; none means that a build can begin.

    Args:
        rows: Needs of the jobs.
        memory_bytes: That this machine's processes may use.
        free_bytes: Of the disk.
        gpus: That the build uses.
    """
    large = [row for row in rows if row.least_memory_bytes > memory_bytes]
    lines = [
        f"memory: {row.stage} {row.name} needs {_gib(row.least_memory_bytes)} GiB, "
        f"{_gib(memory_bytes)} are here"
        for row in sorted(large, key=lambda row: -row.least_memory_bytes)
    ]
    for row in rows:
        able = [gpu for gpu in gpus if row.gpu in (ANY, PORTABLE, gpu.target)]
        largest = max(able, key=lambda gpu: gpu.memory_bytes, default=None)
        if largest and row.gpu_bytes > largest.memory_bytes:
            lines.append(
                f"GPU memory: {row.stage} {row.name} needs {_gib(row.gpu_bytes)} GiB, "
                f"{_gib(largest.memory_bytes)} are on the {largest.name}"
            )
    if (disk := disk_bytes(rows)) > free_bytes:
        most = max(rows, key=lambda row: row.disk_bytes)
        lines.append(
            f"disk: {_gib(disk)} GiB needed ({_gib(most.disk_bytes)} of it by {most.stage} "
            f"{most.name}), {_gib(free_bytes)} free"
        )
    return lines


def refuse_what_cannot_fit(
    rows: list[Need], memory_bytes: int, free_bytes: int, gpus: Sequence[Gpu] = ()
) -> None:
    """Refuse a build at the door; see `obstacles`.

    Raises:
        DrawplateError: Naming what does not fit.
    """
    if lines := obstacles(rows, memory_bytes, free_bytes, gpus):
        more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise DrawplateError(
            f"this machine cannot build it: {'; '.join(lines[:3])}{more}",
            "ask for less (drawplate plan shows every job), use a larger machine, or go on anyway "
            "with --config check=off",
        )


def models_of(plan: Plan, sizes: Architecture | None, root: Path) -> dict[str, Model]:
    """Every checkpoint of a plan by its node's digest, followed through the recipes' steps."""
    models: dict[str, Model] = {}
    base = plan.of("base")[0]  # students come after it
    for node in plan.nodes:  # parents come before children
        if node.stage == "base":
            known = (sizes if node is base else _student_sizes(node, sizes, root)) or guessed(1)
            models[node.digest] = Model(sizes=as_fetched(node, known))
        elif "parent" in node.parents and node.parents["parent"].digest in models:
            parent = models[node.parents["parent"].digest]
            models[node.digest] = after_step(parent, node.stage, node.config)
    return models


def sizes_here(node: Node, root: Path) -> tuple[Architecture, str] | None:
    """Sizes that the files of a checkpoint state if they are here already, and where they stand."""
    for config, words in _places(node, node.config["source"], root):
        sizes = architecture_of(config) if isinstance(config, dict) else None
        if sizes is not None:
            return sizes, words
    return None


def as_fetched(node: Node, sizes: Architecture) -> Architecture:
    """GGUF is written out in float32, whatever the model was trained in."""
    if any(f.endswith(".gguf") for f in node.config["source"].get("files") or ()):
        return dataclasses.replace(sizes, bytes_per_weight=4)
    return sizes


def _student_sizes(node: Node, base: Architecture | None, root: Path) -> Architecture | None:
    """A student's sizes: of its files if they are here, else guessed from its parameters."""
    if here := sizes_here(node, root):
        return here[0]
    if not node.config.get("parameters"):
        return None
    tokens = (base.vocabulary,) if base else ()  # it has the base's tokenizer
    return guessed(int(node.config["parameters"]), *tokens)


def _need(node: Node, plan: Plan, models: dict[str, Model], root: Path) -> Need:
    """One job's need, computed, with memory and time of its former run if there was one."""
    computed = _with_draft(cost(node.stage, _work(node, plan, models)), node, models)
    if _has_scores_of_target(node):
        computed = Cost(seconds=2)  # compares digests and takes what was measured
    if "not_run" in node.config and node.stage != "gate":
        computed = Cost(memory_bytes=TORCH_BYTES)
    memory, minutes, result = (
        computed.memory_bytes,
        computed.minutes(_threads(node)),
        computed.result_bytes,
    )
    former = json_or_none(root / node.record)
    key = former.get("key") if isinstance(former, dict) else None
    same = isinstance(key, dict) and key.get("config") == node.config
    measured = bool(same and former.get("seconds") and former.get("peak_rss_bytes"))
    if measured:
        memory, minutes = float(former["peak_rss_bytes"]), former["seconds"] / 60
        if node.record.name == MANIFEST and lists_files(former):
            result = float(sum(row["bytes"] for row in former["files"]))
    return _row(node, computed, memory, minutes, result, measured)


def _with_draft(computed: Cost, node: Node, models: dict[str, Model]) -> Cost:
    """A cost, and what the model that drafts for the other adds to it, if there is one."""
    draft = node.parents.get("engine", node).parents.get("draft")
    if draft is None:
        return computed
    added = models[draft.digest].stored_bytes
    return dataclasses.replace(
        computed,
        memory_bytes=computed.memory_bytes + 2 * added,
        result_bytes=computed.result_bytes + (added if node.stage == "compile" else 0),
    )


def _has_scores_of_target(node: Node) -> bool:
    """Whether a pair's files of its target will be those of the target's own engine."""
    if "target_evaluate" not in node.parents:
        return False
    own, target = (node.parents[role].config["options"] for role in ("engine", "target"))
    return all(own.get(k) == v for k, v in target.items() if k != "session_options")


def _row(
    node: Node, computed: Cost, memory: float, minutes: float, result: float, measured: bool
) -> Need:
    return Need(
        stage=node.stage,
        name=node.name,
        memory_bytes=_whole(memory),
        disk_bytes=_whole(result + computed.scratch_bytes),
        minutes=round(minutes, 3),
        measured=measured,
        mapped_bytes=_whole(min(computed.mapped_bytes, 0.9 * memory)),
        result_bytes=_whole(result),
        gpu_bytes=_whole(computed.gpu_bytes),
        gpu=node.gpu,
        threads=_threads(node),
    )


def _work(node: Node, plan: Plan, models: dict[str, Model]) -> Work:
    """What a job's cost is computed from."""
    base = models[plan.of("base")[0].digest]
    role = "parent" if "parent" in node.parents else "engine"
    read = node.parents[role].digest if role in node.parents else ""
    result = models.get(node.digest, models.get(read, base))
    data = node.parents["data"].config if "data" in node.parents else {}
    texts = [t for t in data.get("texts", {}).values() if t["held_out"] and t["evaluation_bytes"]]
    against, live = node.parents.get("against"), node.parents.get("live_teacher")
    return Work(
        config=node.config,
        model=models.get(read, result),
        result=result,
        base=base,
        compared=models.get(against.digest) if against else None,
        engine=_engine(node),
        engine_options=node.parents.get("engine", node).config.get("options") or {},
        texts=len(texts) or 1,
        tasks=len(data.get("tasks", {})),
        source=node.config["source"] if node.stage == "base" else {},
        teacher=models[live.digest] if live else None,
        threads=_threads(node),
    )


def _threads(node: Node) -> int:
    """Threads that a job computes on, as the rules and the profiles for one machine have it."""
    stage = STAGES[node.stage]
    return max(1, cores() // 2) if stage.step else cores() if stage.alone else 1


def _engine(node: Node) -> str | None:
    """The engine that a job makes or runs."""
    if "engine" in node.config:
        return str(node.config["engine"])
    engine = node.parents.get("engine")
    return str(engine.config["engine"]) if engine and "engine" in engine.config else None


def _whole(value: float) -> int:
    return math.ceil(value)


def _gib(value: float) -> str:
    return f"{value / GIB:.1f}"
