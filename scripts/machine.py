"""Identify this machine and measure its memory bandwidth, once for all benchmarks."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.benchmark.lock import alone
from drawplate.benchmark.machine import machine
from drawplate.build.job import Job, finish_measurement, run


def main() -> None:
    """Read the job, measure, write `machine.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job's JSON file")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        with alone():
            result = machine(job.threads)
        with finished_folder(arguments.output) as scratch:
            finish_measurement(scratch, job, result)

    run(job, work)


if __name__ == "__main__":
    main()
