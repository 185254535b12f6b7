"""Measure how far a checkpoint of a search lies from the base: cheap, before anything is compiled."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_measurement, run
from drawplate.search.proxy import measure_proxy


def main() -> None:
    """Read the arguments and run the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, JSON")
    parser.add_argument("--parent", type=Path, required=True, help="the checkpoint to measure")
    parser.add_argument("--base", type=Path, required=True, help="the base's checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data stage")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        for folder in (arguments.parent, arguments.base):
            intact_manifest(folder)
        result = measure_proxy(
            arguments.parent, arguments.base, arguments.data, job.config, job.threads
        )
        with finished_folder(arguments.output) as folder:
            finish_measurement(folder, job, result)

    run(job, work)


if __name__ == "__main__":
    main()
