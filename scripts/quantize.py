"""Quantize a float checkpoint to 8 or 4 bits and store it in the compressed-tensors form."""

import argparse
from pathlib import Path

from drawplate.artifacts.audit import audit, compare_tokenizer
from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_artifact, run
from drawplate.quantize.step import quantize_checkpoint


def main() -> None:
    """Read the arguments and run the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, JSON")
    parser.add_argument("--parent", type=Path, required=True, help="float checkpoint folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data stage")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        parent = intact_manifest(arguments.parent)
        resume = arguments.output.with_name(f".{arguments.output.name}.{job.digest[:16]}.resume")
        with finished_folder(arguments.output, keep=("engines",)) as folder:
            bits = quantize_checkpoint(
                arguments.parent, arguments.data, folder, job.config, resume, job.threads
            )
            compare_tokenizer(arguments.parent, folder)
            finish_artifact(
                folder,
                job,
                kind="checkpoint",
                parent={"name": parent["name"], "digest": parent["digest"]},
                format=audit(folder),
                extra={"bits_by_unit": bits},
            )

    run(job, work)


if __name__ == "__main__":
    main()
