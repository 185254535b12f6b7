"""One job of a build, as a script sees it: a JSON file with the stage's config and key."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.artifacts.manifest import peak_rss_bytes, write_manifest
from drawplate.build import gpus
from drawplate.errors import DrawplateError, one_line_errors
from drawplate.progress import say

STAMP = ".key"
ANY = "any"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What one run of one stage has to make.

    `config` is plain data, already checked. `key` holds every part that decides staleness and
    `digest` is the hash of it; the finished folder carries it as the name of its stamp.
    `gpu` is the kind of GPU that it wants, see `plan.Node.gpu`. `predicted` is what the plan expected the job to need, `build_command` makes Snakemake build
    it again together with all that it needs.
    """

    stage: str
    name: str
    model: str
    config: dict[str, Any]
    key: dict[str, Any]
    digest: str
    packages: list[str]
    threads: int
    failure: str
    gpu: str | None = None
    predicted: dict[str, Any] | None = None
    build_command: str | None = None
    started: float = dataclasses.field(default_factory=time.monotonic)

    @classmethod
    def read(cls, path: Path) -> "Job":
        """The job a file describes.

        Raises:
            DrawplateError: If the file is missing or is not a job.
        """
        value = read_json(path)
        value["threads"] = int(os.environ.get("DRAWPLATE_THREADS", value["threads"]))
        try:
            return cls(**value)
        except TypeError as error:
            raise DrawplateError(
                f"{path} does not describe a job", f"use a file of .drawplate/plan/ ({error})"
            ) from None

    def tools(self) -> dict[str, str]:
        """Versions of the packages this stage runs on, as installed."""
        return {name: metadata.version(name) for name in self.packages}


def command_line() -> str:
    """The command that runs now, to be pasted into a shell at the repository's root."""
    root = Path.cwd()
    words = ["python", *sys.argv]
    return shlex.join(
        os.path.relpath(w, root) if w.startswith(str(root) + os.sep) else w for w in words
    )


def stamp(folder: Path, job: Job) -> None:
    """Mark a folder as finished under the job's key. The last thing written into it."""
    (folder / f"{job.digest}{STAMP}").touch()


def finish_artifact(
    folder: Path,
    job: Job,
    *,
    kind: str,
    parent: dict[str, str] | None,
    format: dict[str, Any] | None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write manifest and stamp of a checkpoint or engine into its finished (scratch) folder."""
    write_manifest(
        folder,
        kind=kind,
        name=job.name,
        parent=parent,
        step={"kind": job.stage, "config": job.config},
        key=job.key,
        tools=job.tools(),
        command=command_line(),
        format=format,
        started=job.started,
        extra={
            "predicted": job.predicted,
            "build_command": job.build_command,
            **(extra or {}),
        },
    )
    stamp(folder, job)


def digest_of_result(result: Any) -> str:
    """SHA-256 of a result's JSON, independent of how it is written."""
    as_read = json.loads(json.dumps(result, allow_nan=False))  # keys are texts, tuples are lists
    text = json.dumps(as_read, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def finish_measurement(folder: Path, job: Job, result: dict[str, Any]) -> None:
    """Write `<stage>.json` (result with its digest, key, tools, command, cost) and the stamp."""
    write_json(
        folder / f"{job.stage}.json",
        {
            "stage": job.stage,
            "name": job.name,
            "key": job.key,
            "tools": job.tools(),
            "command": command_line(),
            "seconds": round(time.monotonic() - job.started, 3),
            "peak_rss_bytes": peak_rss_bytes(),
            "predicted": job.predicted,
            "result_sha256": digest_of_result(result),
            "result": result,
        },
    )
    stamp(folder, job)


def read_measurement(folder: Path, stage: str) -> dict[str, Any]:
    """The `result` that a measuring stage left in its folder.

    Raises:
        DrawplateError: If its record is missing, damaged or was changed.
    """
    path = folder / f"{stage}.json"
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("result"), dict):
        raise DrawplateError(
            f"{path} is damaged (it has no result)", "delete the folder and build again"
        )
    result: dict[str, Any] = record["result"]
    if record.get("result_sha256") != digest_of_result(result):
        raise DrawplateError(
            f"{path} is damaged (its result is not what was measured)",
            "delete the folder and build again",
        )
    return result


def run(job: Job, work: Callable[[], None]) -> None:
    """Run a job's work; leave the reason where the report finds it if it fails.

    The failure file is deleted on success, so it always speaks of the last attempt.
    """
    failure = Path(job.failure)
    with one_line_errors():
        try:
            with _hardware(job):
                work()
        except (
            BrokenPipeError
        ):  # whoever read its lines is gone: the build was stopped, it did not fail
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, DrawplateError) else repr(error)
            record = {"stage": job.stage, "name": job.name, "key": job.digest, "reason": reason}
            failure.parent.mkdir(parents=True, exist_ok=True)
            failure.write_text(json.dumps(record) + "\n")
            raise
    failure.unlink(missing_ok=True)


@contextlib.contextmanager
def _hardware(job: Job) -> Iterator[None]:
    """A GPU of its own for a job that wants one, if the build has any; else none.

    Run by hand, without `DRAWPLATE_GPUS`, a job takes what it finds.
    """
    granted = os.environ.get("DRAWPLATE_GPUS")
    if granted is None:
        yield
    elif int(granted) and job.gpu:
        with gpus.leased(None if job.gpu == ANY else job.gpu) as gpu:
            say(f"on GPU {gpu.index}, {gpu.name}")
            yield
    else:
        os.environ[gpus.VISIBLE] = ""
        yield
