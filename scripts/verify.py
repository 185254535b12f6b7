"""Reload an engine in this fresh process and hold it against the checkpoint it was made from.

An engine for hardware that is not here is checked as far as its files go.
"""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_measurement, run
from drawplate.verify.stage import check_unrun, run_stage


def main() -> None:
    """Read the job, compare, write `verify.json`; a broken engine ends with one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job's JSON file")
    parser.add_argument("--parent", type=Path, required=True, help="the checkpoint")
    parser.add_argument("--engine", type=Path, required=True, help="the engine made from it")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        intact_manifest(arguments.parent)
        intact_manifest(arguments.engine)
        if reason := job.config.get("not_run"):
            result = check_unrun(arguments.engine, reason)
        else:
            result = run_stage(job.config, arguments.engine, arguments.parent, job.threads)
        with finished_folder(arguments.output) as scratch:
            finish_measurement(scratch, job, result)

    run(job, work)


if __name__ == "__main__":
    main()
