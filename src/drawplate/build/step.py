"""What all steps of a recipe have in common: one checkpoint in, one checkpoint out, read back."""

import argparse
import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawplate.artifacts.audit import audit, compare_tokenizer
from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.artifacts.truth import check_truth
from drawplate.build.job import Job, finish_artifact, run


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepInputs:
    """What a step may read, and where it writes.

    Attributes:
        parent: The checkpoint it changes.
        data: Folder of the data stage.
        others: Further folders by role, for example `teacher`.
        output: Empty folder to fill.
        resume: Where a killed run leaves what it finished, for the next one. It belongs to this
            very key; `run_step` deletes it once the result stands, a step leaves it.
        config: The step's settings.
        threads: Threads the work may use.
        environments: Locked versions of the packages of other environments that the key holds, by
            name of the environment.
    """

    parent: Path
    data: Path
    others: dict[str, Path]
    output: Path
    resume: Path
    config: dict[str, Any]
    threads: int
    environments: dict[str, dict[str, str]]


def run_step(
    description: str | None,
    change: Callable[[StepInputs], dict[str, Any]],
    others: dict[str, str] | None = None,
    optional: dict[str, str] | None = None,
) -> None:
    """The command line of a step's script: read the arguments, run the job, audit the result.

    Args:
        description: For `--help`.
        change: Fills the output folder; what it returns goes into the manifest.
        others: Roles of further input folders and what `--help` says of each.
        optional: Further ones that may be left out; `live_teacher` is told as `--live-teacher`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="the job, JSON")
    parser.add_argument("--parent", type=Path, required=True, help="the checkpoint to change")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data stage")
    for role, words in (others or {}).items():
        parser.add_argument(f"--{role}", type=Path, required=True, help=words)
    for role, words in (optional or {}).items():
        parser.add_argument(f"--{role.replace('_', '-')}", type=Path, help=words)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        parent = intact_manifest(arguments.parent)
        output = arguments.output
        resume = output.with_name(f".{output.name}.{job.digest[:16]}.resume")
        with finished_folder(output, ("engines",), lambda: forget_resumes(output)) as folder:
            facts = change(
                StepInputs(
                    parent=arguments.parent,
                    data=arguments.data,
                    others={
                        role: getattr(arguments, role)
                        for role in (*(others or {}), *(optional or {}))
                        if getattr(arguments, role)
                    },
                    output=folder,
                    resume=resume,
                    config=job.config,
                    threads=job.threads,
                    environments=job.key.get("environments", {}),
                )
            )
            compare_tokenizer(arguments.parent, folder)
            label = audit(folder)
            name = str(arguments.output)
            check_truth(folder, arguments.parent, job.stage, job.config, label, name)
            finish_artifact(
                folder,
                job,
                kind="checkpoint",
                parent={"name": parent["name"], "digest": parent["digest"]},
                format=label,
                extra=facts,
            )

    run(job, work)


def forget_resumes(output: Path) -> None:
    """Delete what runs left to be gone on from, of this key and of others that were given up.

    Args:
        output: The finished folder that they were to become.
    """
    name = re.compile(rf"\.{re.escape(output.name)}\.[0-9a-f]{{16}}\.resume")
    for path in output.parent.iterdir():
        if name.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
