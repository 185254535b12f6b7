"""Prepare calibration text, evaluation text and task files from their pinned sources."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.build.job import Job, finish_measurement, run
from drawplate.data.prepare import prepare


def main() -> None:
    """Read the job, write the folder with its `data.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job's JSON file")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        with finished_folder(arguments.output) as scratch:
            finish_measurement(scratch, job, prepare(job.config, scratch))

    run(job, work)


if __name__ == "__main__":
    main()
