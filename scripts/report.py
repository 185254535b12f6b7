"""Write the report: JSON, Markdown, one HTML file, the picture, and flat metrics."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import read_json, write_json
from drawplate.build.job import Job, run, stamp
from drawplate.progress import say
from drawplate.report.costs import with_costs
from drawplate.report.facts import collect
from drawplate.report.write import FILES, write_report
from drawplate.track.runs import attach_report


def main() -> None:
    """Read what the build left behind, write the report, attach it to the build's MLflow run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, a JSON file")
    parser.add_argument("--output", type=Path, required=True, help="results/<model>")
    parser.add_argument(
        "--partial",
        action="store_true",
        help="after a failed build: report what there is, and leave the job unfinished",
    )
    arguments = parser.parse_args()
    job, output = Job.read(arguments.config), arguments.output

    def work() -> None:
        facts = with_costs(collect(job.config), job.config)
        write_report(facts, output)
        if facts["tracking"]:
            tracked = read_json(Path(job.config["track"]) / "track.json")["result"]
            attach_report(tracked, [p for name in FILES if (p := output / name).exists()])
        for old in output.glob("*.key"):
            old.unlink()
        if not arguments.partial:
            write_json(output / "report.key.json", {"key": job.key})
            stamp(output, job)
        for variant in facts["variants"]:
            if variant["status"] != "ok":
                say(f"{variant['name']} {variant['status'].replace('_', ' ')}: {variant['reason']}")
            elif not variant["gate"]["passed"]:
                say(
                    f"{variant['name']} stopped by the gate: {' '.join(variant['gate']['reasons'])}"
                )
        what = "report of what there is" if arguments.partial else "report"
        say(f"{what}: {output / 'report.html'}")

    run(job, work)


if __name__ == "__main__":
    main()
