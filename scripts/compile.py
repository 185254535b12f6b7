"""Compile a checkpoint for one engine and target."""

import argparse
from pathlib import Path
from typing import Any

from drawplate import engines
from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_artifact, read_measurement, run
from drawplate.engines.task import check_architecture
from drawplate.errors import DrawplateError


def refuse_stopped(source: Path, gate: dict[str, Any]) -> None:
    """Refuse to compile from what lost too much already.

    Raises:
        DrawplateError: With the first reason of its gate.
    """
    intact_manifest(source)
    if not gate["passed"]:
        raise DrawplateError(
            f"{source} is stopped by the gate: {gate['reasons'][0].rstrip('.')}",
            "change the recipe or the gate's limits",
        )


def main() -> None:
    """Read the job, compile, write the engine with its label and manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job's JSON file")
    parser.add_argument("--parent", type=Path, required=True, help="the checkpoint")
    parser.add_argument("--draft", type=Path, help="the checkpoint that drafts for it")
    parser.add_argument("--source", type=Path, help="another engine of it, to compile from")
    parser.add_argument("--source-gate", type=Path, help="the gate folder of that one")
    parser.add_argument("--output", type=Path, required=True, help="the engine's folder")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        parent = intact_manifest(arguments.parent)
        engine, options = job.config["engine"], job.config["options"]
        draft = intact_manifest(arguments.draft) if arguments.draft else None
        for checkpoint in filter(None, (arguments.parent, arguments.draft)):
            check_architecture(checkpoint, engine, job.config["architectures"])
        with finished_folder(arguments.output) as scratch:
            if arguments.source:
                refuse_stopped(arguments.source, read_measurement(arguments.source_gate, "gate"))
                further = engines.further_compiler(engine)
                label = further(arguments.source, scratch, options, job.config["target"])
            elif draft is None:
                compile_ = engines.compiler(engine)
                label = compile_(arguments.parent, scratch, options, job.threads)
            else:
                pair = engines.pair_compiler(engine)
                label = pair(arguments.parent, scratch, options, job.threads, arguments.draft)
            if zeros := (parent["format"] or {}).get("sparsity"):
                label.setdefault("sparsity", zeros)  # float weights pass unchanged, zeros too
            finish_artifact(
                scratch,
                job,
                kind="engine",
                parent={"name": parent["name"], "digest": parent["digest"]},
                format=label,
                extra={"draft": {k: draft[k] for k in ("name", "digest")}} if draft else None,
            )

    run(job, work)


if __name__ == "__main__":
    main()
