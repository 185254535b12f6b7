"""Make the base of serving images from the distribution's packages."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.build.job import Job, finish_measurement, run
from drawplate.package.base import make_base
from drawplate.progress import say


def main() -> None:
    """Read the job, write `base.tar` and the list of its packages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        with finished_folder(arguments.output) as folder:
            say("a small Debian with Python, one to two minutes")
            packages = make_base(folder / "base.tar", job.config["suite"])
            finish_measurement(folder, job, {"packages": packages})

    run(job, work)


if __name__ == "__main__":
    main()
