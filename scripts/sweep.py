"""Time one variant at many batch sizes: the one that is worth serving."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.benchmark.sweep import sweep
from drawplate.build.job import Job, finish_measurement, run
from drawplate.package.choose import choose
from drawplate.progress import say
from drawplate.report.facts import collect


def main() -> None:
    """Read the job, choose the variant as the image does, measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        config = job.config
        variants = collect({**config, "track": None, "search": None, "package": None})["variants"]
        variant, _ = choose(variants, config["servers"], config["variant"], config["by"])
        say(f"batches {', '.join(map(str, config['batches']))} of {variant['name']}")
        found = sweep(Path(variant["artifact"]["path"]), config, job.threads)
        with finished_folder(arguments.output) as folder:
            finish_measurement(
                folder,
                job,
                {"variant": variant["name"], "target": variant["target"], "performance": found},
            )

    run(job, work)


if __name__ == "__main__":
    main()
