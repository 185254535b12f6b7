"""Fetch the base checkpoint from its pinned source, as a float checkpoint in Hugging Face form."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.build.job import Job, finish_artifact, run
from drawplate.sources.base import make_base


def main() -> None:
    """Read the job, fetch and convert, write the checkpoint with its manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job's JSON file")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        # Engines stand inside the folder of their checkpoint and outlive its renewal.
        with finished_folder(arguments.output, keep=("engines",)) as scratch:
            facts, label = make_base(job.config, scratch)
            finish_artifact(
                scratch, job, kind="checkpoint", parent=None, format=label, extra={"base": facts}
            )

    run(job, work)


if __name__ == "__main__":
    main()
