"""Prune a float checkpoint to a smaller dense one of the same architecture."""

import argparse
from pathlib import Path

from drawplate.artifacts.audit import audit, compare_tokenizer
from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_artifact, run
from drawplate.prune.step import prune_checkpoint


def main() -> None:
    """Read the arguments and run the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, JSON")
    parser.add_argument("--parent", type=Path, required=True, help="float checkpoint folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data stage")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        parent = intact_manifest(arguments.parent)
        with finished_folder(arguments.output, keep=("engines",)) as folder:
            pruned = prune_checkpoint(
                arguments.parent, arguments.data, folder, job.config, job.threads
            )
            compare_tokenizer(arguments.parent, folder)
            finish_artifact(
                folder,
                job,
                kind="checkpoint",
                parent={"name": parent["name"], "digest": parent["digest"]},
                format=audit(folder),
                extra={"pruned": pruned},
            )

    run(job, work)


if __name__ == "__main__":
    main()
