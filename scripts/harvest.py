"""Write `conf/recipe/<name>.yaml` for each recipe of a search that is on the final Pareto front."""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder, read_json
from drawplate.build.job import Job, finish_measurement, run
from drawplate.progress import say
from drawplate.search.recipes import figures, no_file, recipe_text, write_recipe

RECIPES = Path("conf/recipe")


def main() -> None:
    """Read the job and the report, write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, JSON")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    job = Job.read(arguments.config)

    def work() -> None:
        report = read_json(Path(job.config["report_path"]))
        best = [v for v in report["variants"] if v["name"] in report["pareto"]]
        found_by = job.config["invocation"].removesuffix(" --")
        result = {}
        for name, steps in job.config["recipes"].items():
            lines = [figures(v) for v in best if v["recipe"] == name]
            if not lines:
                continue
            called, what = write_recipe(RECIPES, name, recipe_text(found_by, lines, steps))
            result[name] = {"file": f"{called}.yaml", "what": what}
            yours = " (it differs, and it is yours)" if what == "kept" else ""
            say(f"{RECIPES / called}.yaml: {what}{yours}")
        if why := no_file(list(job.config["recipes"]), report):
            say(why)
        with finished_folder(arguments.output) as folder:
            finish_measurement(folder, job, {"recipes": result})

    run(job, work)


if __name__ == "__main__":
    main()
