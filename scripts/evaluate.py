"""Evaluate an engine through itself: perplexity, divergence from the base, tasks."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_measurement, read_measurement, run
from drawplate.evaluate.shared import scores_of_source, scores_of_target
from drawplate.evaluate.stage import run_stage


def main() -> None:
    """Read the job, measure, write `evaluate.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job's JSON file")
    parser.add_argument("--engine", type=Path, required=True, help="engine folder to evaluate")
    parser.add_argument("--base", type=Path, required=True, help="the base's checkpoint folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data stage")
    parser.add_argument("--target", type=Path, help="a pair's: engine of its target alone")
    parser.add_argument("--target-evaluate", type=Path, help="a pair's: evaluate folder of that")
    parser.add_argument("--source-evaluate", type=Path, help="evaluate folder of its source")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        engine, target = arguments.engine, arguments.target
        intact_manifest(engine)
        intact_manifest(arguments.base)
        result = None
        if target and arguments.target_evaluate:
            measured = read_measurement(arguments.target_evaluate, "evaluate")
            result = scores_of_target(engine, target, measured)
        if arguments.source_evaluate:
            measured = read_measurement(arguments.source_evaluate, "evaluate")
            result = scores_of_source(engine, measured)
        if result is None:
            result = run_stage(job.config, engine, arguments.base, arguments.data, job.threads)
        with finished_folder(arguments.output) as scratch:
            finish_measurement(scratch, job, result)

    run(job, work)


if __name__ == "__main__":
    main()
