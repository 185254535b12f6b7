"""Compile a checkpoint for one engine and target."""

import argparse
from pathlib import Path

from drawplate import engines
from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_artifact, run


def main() -> None:
    """Read the job, compile, write the engine with its label and manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job's JSON file")
    parser.add_argument("--parent", type=Path, required=True, help="the checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="the engine's folder")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        parent = intact_manifest(arguments.parent)
        compile_ = engines.compiler(job.config["engine"])
        with finished_folder(arguments.output) as scratch:
            label = compile_(arguments.parent, scratch, job.config["options"], job.threads)
            if zeros := (parent["format"] or {}).get("sparsity"):
                label.setdefault("sparsity", zeros)  # float weights pass unchanged, zeros too
            finish_artifact(
                scratch,
                job,
                kind="engine",
                parent={"name": parent["name"], "digest": parent["digest"]},
                format=label,
            )

    run(job, work)


if __name__ == "__main__":
    main()
