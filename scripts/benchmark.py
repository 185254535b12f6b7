"""Benchmark an engine alone in its own process, in turns with the one it is compared with."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.benchmark.stage import run_stage
from drawplate.build.job import Job, command_line, finish_measurement, run


def main() -> None:
    """Read the job, measure, write `benchmark.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job's JSON file")
    parser.add_argument("--engine", type=Path, required=True, help="engine folder to measure")
    parser.add_argument("--against", type=Path, help="engine folder to compare with")
    parser.add_argument("--data", type=Path, help="folder of the data stage: prompts of real text")
    parser.add_argument("--machine", type=Path, required=True, help="folder of the machine stage")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        for folder in filter(None, (arguments.engine, arguments.against)):
            intact_manifest(folder)
        result = run_stage(
            job.config,
            arguments.engine,
            arguments.against,
            arguments.machine,
            job.threads,
            arguments.data,
        )
        with finished_folder(arguments.output) as scratch:
            finish_measurement(scratch, job, {**result, "command": command_line()})

    run(job, work)


if __name__ == "__main__":
    main()
