"""Put the variant that is worth serving into an image."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.lineage import chain
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_artifact, read_measurement, run
from drawplate.package.choose import choose
from drawplate.package.context import check_limits
from drawplate.package.image import base_of, make_image
from drawplate.progress import say
from drawplate.report.facts import collect


def main() -> None:
    """Read the job, choose a variant, build its image with SBOM and manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--data", type=Path, required=True, help="the data's folder")
    parser.add_argument("--rootfs", type=Path, help="the base made here, unless one is named")
    parser.add_argument("--output", type=Path, required=True, help="the image's folder")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        config, root = job.config, Path.cwd()
        variants = collect({**config, "track": None, "search": None, "package": None})["variants"]
        variant, passed_over = choose(variants, config["servers"], config["variant"], config["by"])
        engine = Path(variant["artifact"]["path"])
        manifest = intact_manifest(engine)
        check_limits(engine, config["limits"])
        for name in passed_over:
            say(f"{name} would be cheaper, but its engine names no server")
        say(f"packaging {variant['name']}, sha256:{manifest['digest'][:12]}")
        facts = {
            "chain": [entry for _, entry in chain(engine, root)],
            "sources": read_measurement(arguments.data, "data")["sources"],
        }
        with finished_folder(arguments.output) as folder:
            image = make_image(
                root,
                engine,
                config["servers"][variant["engine"]],
                f"drawplate/{job.model}",
                base_of(config, arguments.rootfs),
                config,
                facts,
                folder,
            )
            finish_artifact(
                folder,
                job,
                kind="image",
                parent={"name": manifest["name"], "digest": manifest["digest"]},
                format=manifest["format"],
                extra={
                    "image": {
                        **image,
                        "variant": variant["name"],
                        "engine_path": str(engine),
                        "passed_over": passed_over,
                    }
                },
            )
            say(f"image {image['digest']}, {image['bytes'] / 1e6:.0f} MB in layers")

    run(job, work)


if __name__ == "__main__":
    main()
