"""Judge one variant: good enough against the base, and worth it against its parent."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import read_manifest, stored_bytes
from drawplate.build.job import Job, finish_measurement, read_measurement, run
from drawplate.evaluate.intervals import paired
from drawplate.gate.verdict import gate


def main() -> None:
    """Read the measurements of one variant, write its verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--engine", type=Path, required=True, help="the variant's engine")
    parser.add_argument("--verify", type=Path, required=True, help="its verify folder")
    parser.add_argument("--evaluate", type=Path, required=True, help="its evaluate folder")
    parser.add_argument("--benchmark", type=Path, help="its benchmark folder, if it was timed")
    parser.add_argument("--base-evaluate", type=Path, help="the base's evaluate folder")
    parser.add_argument("--parent-engine", type=Path, help="the parent's engine")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        read_measurement(arguments.verify, "verify")  # an engine that was never verified stops here
        own, base = read_measurement(arguments.evaluate, "evaluate"), arguments.base_evaluate
        parent, timed = arguments.parent_engine, arguments.benchmark
        verdict = gate(
            job.config,
            evaluation=own,
            benchmark=read_measurement(timed, "benchmark") if timed else None,
            engine_bytes=stored_bytes(read_manifest(arguments.engine)),
            paired=paired(read_measurement(base, "evaluate"), own) if base else None,
            parent_bytes=stored_bytes(read_manifest(parent)) if parent else None,
        )
        with finished_folder(arguments.output) as folder:
            finish_measurement(folder, job, verdict)

    run(job, work)


if __name__ == "__main__":
    main()
