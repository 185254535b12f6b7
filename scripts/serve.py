"""Run the image: start it, wait for it, and compare its answers with the engine's own."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_measurement, run
from drawplate.package.serve import try_image
from drawplate.progress import say


def main() -> None:
    """Read the job, try the image, write what it answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--image", type=Path, required=True, help="the image's folder")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        image = intact_manifest(arguments.image)["image"]
        engine = Path(image["engine_path"])
        result = try_image(image, arguments.image, engine, job.config, job.threads)
        with finished_folder(arguments.output) as folder:
            finish_measurement(folder, job, result)
        say(f"{result['requests']} prompts answered as the engine itself answers them")

    run(job, work)


if __name__ == "__main__":
    main()
