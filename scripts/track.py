"""Log a build to MLflow: one parent run, one nested run a variant."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.build.job import Job, finish_measurement, run
from drawplate.report.facts import collect
from drawplate.track.runs import log_build
from drawplate.track.server import tracking_uri


def main() -> None:
    """Read what the variants left behind, write the ids of their runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        facts = collect({**job.config, "track": None})
        uri = tracking_uri(job.config["tracking_uri"])
        result = log_build(facts, job.config["config"], uri, job.digest)
        # Which results these runs show, so that no later report takes them for its own.
        result["gates"] = {
            v["name"]: Path(v["stamps"]["gate"]).stem for v in job.config["variants"]
        }
        with finished_folder(arguments.output) as folder:
            finish_measurement(folder, job, result)

    run(job, work)


if __name__ == "__main__":
    main()
