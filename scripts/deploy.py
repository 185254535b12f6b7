"""Write what deploys an image: Kubernetes objects and a compose file, sized from its sweep."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import read_manifest
from drawplate.build.job import Job, finish_artifact, read_measurement, run
from drawplate.deploy.history import HISTORY, former
from drawplate.deploy.release import Release
from drawplate.deploy.sizing import Measured, size
from drawplate.deploy.write import texts, write
from drawplate.progress import say


def main() -> None:
    """Read the job, the image and its sweep; write the deployment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--image", type=Path, required=True, help="the image's folder")
    parser.add_argument("--serve", type=Path, required=True, help="the folder of its trial")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        config, manifest = job.config, read_manifest(arguments.image)
        image = manifest["image"]
        served = read_measurement(arguments.serve, "serve")
        measured = Measured.read(served, config["limits"], config["memory_megabytes"])
        sizing = size(measured, config["settings"])
        release = Release(
            model=job.model,
            variant=image["variant"],
            digest=image["digest"],
            engine_digest=f"sha256:{manifest['parent']['digest']}",
            target=config["targets"][image["variant"]],
            sizing=sizing,
            settings=config["settings"],
        )
        present = {
            "digest": release.digest,
            "engine_digest": release.engine_digest,
            "variant": release.variant,
        }
        before = former(Path(config["history"]) / HISTORY, present)
        files = texts(release, before, str(arguments.serve))
        told = {
            "reference": release.reference,
            "former": before,
            "within_target": measured.within,
            "requests_per_s_of_one_replica": sizing.requests_per_s,
            "replicas": [sizing.min_replicas, sizing.max_replicas],
            "cpus": sizing.cpus,
            "memory_mebibytes": sizing.memory_mebibytes,
            "max_queue": sizing.max_queue,
        }
        with finished_folder(arguments.output) as folder:
            write(folder, files)
            # A part of the image with a manifest of its own, so that the image's lists no file of it.
            finish_artifact(
                folder,
                job,
                kind="image",
                parent={"name": manifest["name"], "digest": manifest["digest"]},
                format=None,
                extra={"deployment": told},
            )
        if not measured.within:
            say("no load kept the target: one replica is sized for the lowest that was measured")
        say(f"deployment of {release.reference[:80]} in {arguments.output}")

    run(job, work)


if __name__ == "__main__":
    main()
