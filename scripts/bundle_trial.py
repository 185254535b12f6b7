"""Start a bundle's server here, and compare its answers with the engine's own."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.environment import interpreter
from drawplate.build.job import Job, finish_measurement, run
from drawplate.bundle.trial import try_bundle
from drawplate.progress import say


def main() -> None:
    """Read the job, try the bundle, write what it answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        facts = intact_manifest(arguments.bundle)["bundle"]
        python = interpreter(job.config["server"]["trial"]["environment"], Path.cwd())
        result = try_bundle(arguments.bundle, facts, job.config, python, job.threads)
        result["versions"] = job.key["environments"][job.config["server"]["trial"]["environment"]]
        with finished_folder(arguments.output) as folder:
            finish_measurement(folder, job, result)
        say(f"{result['same']} of {result['requests']} answers are the engine's own")

    run(job, work)


if __name__ == "__main__":
    main()
