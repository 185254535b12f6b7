"""Run a teacher once over the training text and keep its answers for distillation."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_measurement, run
from drawplate.distill.teacher import ask_teacher


def main() -> None:
    """Read the arguments and run the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, JSON")
    parser.add_argument("--parent", type=Path, required=True, help="the teacher's checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data stage")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        intact_manifest(arguments.parent)
        with finished_folder(arguments.output) as folder:
            facts = ask_teacher(arguments.parent, arguments.data, folder, job.config, job.threads)
            finish_measurement(folder, job, facts)

    run(job, work)


if __name__ == "__main__":
    main()
