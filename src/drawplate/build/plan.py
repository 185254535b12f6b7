"""The plan: every node of a build with its folder, parents and key, before anything runs."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import write_json
from drawplate.artifacts.manifest import MANIFEST, lists_files
from drawplate.build import extras
from drawplate.build.code import fingerprint
from drawplate.build.environment import lock_of
from drawplate.build.job import ANY
from drawplate.build.keys import digest_of_key
from drawplate.build.lock import LOCK, versions
from drawplate.build.stages import STAGES

CPU = "cpu"
PLAN_FOLDER = Path(".drawplate/plan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One job and the folder it fills.

    Attributes:
        stage: Name of the stage, of its script and of its rule.
        name: Lineage of a checkpoint, `<lineage>/<engine>-<target>` of an engine, else the
            variant or the stage.
        folder: The folder it fills, relative to the root.
        model: Name of the model, first folder under `artifacts/` and `results/`.
        config: What the stage reads, plain data.
        parents: Nodes whose folders it reads, by role.
        key: Every part that decides staleness.
        context: What the script reads besides, but what makes nothing stale (places, commit).
    """

    stage: str
    name: str
    folder: Path
    model: str
    config: dict[str, Any]
    parents: dict[str, "Node"]
    key: dict[str, Any]
    context: dict[str, Any]

    @property
    def digest(self) -> str:
        """Digest of the key."""
        return digest_of_key(self.key)

    @property
    def stamp(self) -> Path:
        """The file whose existence says that the folder is finished under this key."""
        return self.stamp_folder / f"{self.digest}.key"

    @property
    def stamp_folder(self) -> Path:
        """Where the stamp stands: in the folder itself."""
        return self.folder

    @property
    def job_file(self) -> Path:
        """The job's description, named by the key's digest."""
        return PLAN_FOLDER / f"{self.digest}.json"

    @property
    def failure_file(self) -> Path:
        """Where a failed job leaves its reason."""
        slug = self.name.replace("/", "--")
        return Path("results") / self.model / "failures" / f"{self.stage}--{slug}.json"

    @property
    def record(self) -> Path:
        """The JSON file that a finished folder cannot be without."""
        return self.folder / STAGES[self.stage].record

    @property
    def gpu(self) -> str | None:
        """The kind of GPU that the job wants: `any`, a target such as `sm89`, or None."""
        if STAGES[self.stage].gpu:
            return ANY
        engine = self if self.stage == "compile" else self.parents.get("engine")
        if engine is None or self.stage == "gate" or "not_run" in self.config:
            return None
        target = str(engine.config["target"])
        # TensorRT times kernels on the very GPU; what needs none to compile says so by its targets.
        compiles_here = engine.config["options"].get("library") == "tensorrt"
        return target if target != CPU and (self is not engine or compiles_here) else None

    def fresh(self, root: Path) -> bool:
        """Whether the folder is finished under this very key, and not emptied since."""
        return (root / self.stamp).exists() and not self.hollow(root)

    def hollow(self, root: Path) -> bool:
        """Whether the folder lost its record (or that is damaged), or a file that its manifest lists.

        Sizes are looked at, not contents: planning must not read gigabytes. `drawplate verify`
        and every job that reads an artifact compare digests.
        """
        record = json_or_none(root / self.record)
        if not isinstance(record, dict):
            return True
        if self.record.name != MANIFEST:
            return "result" not in record and "key" not in record
        if not lists_files(record):
            return True
        paths = ((root / self.folder / row["path"], row["bytes"]) for row in record["files"])
        return any(not path.is_file() or path.stat().st_size != size for path, size in paths)

    def write_job(self, root: Path, invocation: str, predicted: dict[str, Any] | None) -> None:
        """Write the job file unless the folder is finished already.

        Args:
            root: The repository.
            invocation: See `Plan`.
            predicted: What the job is expected to need, for the record.

        The file is named by the key's digest, but what a job is told besides its key (places
        of other results, the commit) may have moved on, so it is written whenever it differs.
        """
        job = {
            "stage": self.stage,
            "name": self.name,
            "model": self.model,
            "config": {**self.config, **self.context},
            "key": self.key,
            "digest": self.digest,
            "packages": sorted(self.key["versions"]),
            "threads": 1,
            "gpu": self.gpu,
            "failure": str(self.failure_file),
            "predicted": predicted,
            "build_command": f"{invocation} {self.stamp}",
        }
        path = root / self.job_file
        if not self.fresh(root) and json_or_none(path) != job:
            write_json(path, job)


def json_or_none(path: Path) -> Any:
    """JSON of a file, or None if there is none or it is cut short."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None


@dataclasses.dataclass
class Planner:
    """Makes nodes; holds what their keys have in common: the code and the lock at `root`."""

    root: Path
    model: str
    nodes: list[Node] = dataclasses.field(default_factory=list)

    def add(
        self,
        stage: str,
        name: str,
        folder: Path,
        config: dict[str, Any],
        parents: dict[str, Node] | None = None,
        *,
        hardware: dict[str, Any] | None = None,
        engine: str | None = None,
        packages: tuple[str, ...] = (),
        environment: str | None = None,
        context: dict[str, Any] | None = None,
        waits_for: dict[str, Node] | None = None,
    ) -> Node:
        """Add a node and compute its key.

        Args:
            stage: A name in `STAGES`.
            name: See `Node`.
            folder: See `Node`.
            config: See `Node`.
            parents: See `Node`.
            hardware: What of the machine the result depends on.
            engine: Engine whose code and packages the stage runs on.
            packages: Further packages besides the stage's own.
            environment: The environment that those are locked for, None for the build's own.
            context: See `Node`.
            waits_for: Parents that may stop the job and are in no byte of what it makes: they are
                not in its key.
        """
        spec = STAGES[stage]
        modules = (f"drawplate.engines.{engine}",) if engine else ()
        key: dict[str, Any] = {
            "config": config,
            "parents": {role: node.digest for role, node in (parents or {}).items()},
            "code": fingerprint(
                self.root / "scripts" / f"{spec.script}.py", self.root / "src", modules
            ),
            "versions": versions(
                {*spec.packages, *(() if environment else packages)},
                self.root / LOCK,
                *extras.locks(self.root),
            ),
        }
        elsewhere = {spec.environment: spec.environment_packages, environment: packages}
        if names := sorted(name for name in elsewhere if name):
            key["environments"] = {
                name: versions(elsewhere[name], self.root / lock_of(name)) for name in names
            }
        if hardware:
            key["hardware"] = hardware
        node = Node(
            stage=stage,
            name=name,
            folder=folder,
            model=self.model,
            config=config,
            parents={**(parents or {}), **(waits_for or {})},
            key=key,
            context=context or {},
        )
        self.nodes.append(node)
        return node


@dataclasses.dataclass(frozen=True)
class Plan:
    """Every node of a build, parents before children.

    Attributes:
        experiment: Name in `conf/experiment/`.
        model: First folder under `artifacts/` and `results/`.
        base: The base's section of the configuration.
        invocation: The words that choose this build on Snakemake's command line.
        nodes: Every node.
        variants: One entry a variant: names, and the nodes that belong to it.
        search: The search that is to be made first, before recipes are known; it is among the nodes.
        proof: The variant of a proof of concept.
    """

    experiment: str
    model: str
    base: dict[str, Any]
    invocation: str
    nodes: list[Node]
    variants: list[dict[str, Any]]
    search: Node | None = None
    proof: str | None = None

    def of(self, stage: str) -> list[Node]:
        """The nodes of one stage."""
        return [n for n in self.nodes if n.stage == stage]

    def by_digest(self, digest: str) -> Node:
        """The node whose stamp carries the digest."""
        return next(n for n in self.nodes if n.digest == digest)

    def stale(self, root: Path) -> Iterator[Node]:
        """The nodes that a build would run."""
        return (n for n in self.nodes if not n.fresh(root))

    def forget_hollow(self, root: Path) -> list[Node]:
        """Take away the stamps of folders that lost something, so that they are made again.

        Those of everything made from them go too: Snakemake does not make a missing input again
        for an output that is there.
        """
        hollow = [n for n in self.nodes if (root / n.stamp).exists() and n.hollow(root)]
        gone = {node.digest for node in hollow}
        for node in self.nodes:  # parents come before children
            if node.digest in gone or any(p.digest in gone for p in node.parents.values()):
                gone.add(node.digest)
                (root / node.stamp).unlink(missing_ok=True)
        return hollow

    def write_jobs(self, root: Path, predicted: dict[str, dict[str, Any]]) -> None:
        """Write the job files of the stale nodes.

        Args:
            root: The repository.
            predicted: By digest, see `estimate.predictions`.
        """
        for node in self.nodes:
            node.write_job(root, self.invocation, predicted.get(node.digest))
