"""Put a variant into a bundle that another project's server loads."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.job import Job, finish_artifact, run
from drawplate.bundle.choose import choose
from drawplate.bundle.write import write_bundle
from drawplate.engines.task import check_architecture
from drawplate.progress import say
from drawplate.report.facts import collect


def main() -> None:
    """Read the job, choose a variant, write its bundle with a manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--output", type=Path, required=True, help="the bundle's folder")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        config, root = job.config, Path.cwd()
        server = config["server"]
        variants = collect({**config, "track": None, "search": None, "package": None})["variants"]
        variant = choose(variants, config["able"], config["variant"], config["by"])
        row = next(r for r in config["variants"] if r["name"] == variant["name"])
        of_checkpoint = server["holds"] is not None
        source = Path(row["chain"][-1]["path"] if of_checkpoint else row["engine_path"])
        manifest = intact_manifest(source)
        if of_checkpoint:
            check_architecture(source, server["name"], server["architectures"])
        say(f"bundling {variant['name']} for {server['description']}")
        with finished_folder(arguments.output) as folder:
            write_bundle(root, source, variant, config, job.model, folder)
            finish_artifact(
                folder,
                job,
                kind="engine",
                parent={"name": manifest["name"], "digest": manifest["digest"]},
                format=manifest["format"],
                extra={
                    "bundle": {
                        "server": server["name"],
                        "variant": variant["name"],
                        "source": str(source),
                        "name": job.model,
                    }
                },
            )

    run(job, work)


if __name__ == "__main__":
    main()
