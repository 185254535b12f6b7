"""Write the page of a phase: assess, poc, pilot or production."""

import argparse
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.build import gpus
from drawplate.build.estimate import models_of, needs, obstacles
from drawplate.build.hardware import cores, usable_memory_bytes
from drawplate.build.plan import Plan
from drawplate.build.workflow import base_sizes, git_commit, load_build, make_plan
from drawplate.config.build import Build
from drawplate.errors import DrawplateError, one_line_errors
from drawplate.phases.assess import assess, estimated_here
from drawplate.phases.page import VERDICTS, write_page
from drawplate.phases.pilot import pilot
from drawplate.phases.poc import poc
from drawplate.phases.production import production
from drawplate.phases.served import replica
from drawplate.progress import say
from drawplate.report.costs import with_costs
from drawplate.report.facts import collect

AFTER = {"assess": "poc", "poc": "pilot", "pilot": "production"}
DEPLOY = "deploy it, and watch what it says of itself"


def main() -> None:
    """Read what is known under this plan, answer whether to go on, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase", choices=["assess", "poc", "pilot", "production"])
    parser.add_argument("--words", required=True, help="what chooses the build, as JSON")
    arguments = parser.parse_args()
    with one_line_errors():
        root, words = Path.cwd(), json.loads(arguments.words)
        build, plan = load_build(words, root), make_plan(words, root)
        phase = arguments.phase
        following = f"{plan.invocation} {AFTER[phase]}" if phase in AFTER else DEPLOY
        page = (
            _assess(build, plan, root, words, following)
            if phase == "assess"
            else _measured(build, plan, root, phase, following)
        )
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        named = {"model": plan.model, "experiment": plan.experiment, "created_at": now}
        folder = root / "results" / plan.model
        folder.mkdir(parents=True, exist_ok=True)
        files = write_page({**page, **named, "git_commit": git_commit(root)}, folder)
        say(f"{phase}: {VERDICTS[page['go_on']]}. {page['because']} {files[-1].relative_to(root)}")


def _machine(root: Path) -> dict[str, Any]:
    """This machine, its bandwidth if that was measured."""
    record = root / "results" / "machine" / "machine.json"
    measured = read_json(record)["result"] if record.exists() else {}
    return {
        "cores": cores(),
        "memory_bytes": usable_memory_bytes(),
        "bandwidth_bytes_per_s": measured.get("memory_bandwidth_bytes_per_s"),
    }


def _assess(
    build: Build, plan: Plan, root: Path, words: dict[str, Any], following: str
) -> dict[str, Any]:
    """From the plan alone."""
    sizes, origin = base_sizes(plan, root)
    if sizes is None:
        raise DrawplateError(
            "the base's sizes are not known before it is fetched", "declare base.architecture"
        )
    made = models_of(plan, sizes, root)
    ends = {v["recipe"]: v["nodes"]["engine"].parents["parent"].digest for v in plan.variants}
    rows = needs(plan, sizes, root)
    here, free = _machine(root), shutil.disk_usage(root).free
    memory = here["memory_bytes"]
    present = gpus.gpus() if words["hardware"] == "gpu" else []
    supports: dict[str, list[str]] = {}
    for name, engine in build.engines.items():
        for target in engine.supports:
            supports.setdefault(target, []).append(name)
    return assess(
        {recipe: made[digest] for recipe, digest in ends.items()},
        supports,
        build.cost,
        build.phase["assess"],
        here,
        {
            "needs": rows,
            "memory_bytes": memory,
            "free_bytes": free,
            "obstacles": obstacles(rows, memory, free, present),
            "sizes": origin,
        },
        following,
    )


def _estimated(build: Build, plan: Plan, root: Path) -> tuple[int, float] | None:
    """What `assess` expects of the proof's variant here."""
    sizes, _ = base_sizes(plan, root)
    (variant,) = (v for v in plan.variants if v["name"] == plan.proof)
    if sizes is None or variant["target"] != "cpu":
        return None
    model = models_of(plan, sizes, root)[variant["nodes"]["engine"].parents["parent"].digest]
    settings = build.phase["assess"]
    found = estimated_here(model, build.cost, settings, _machine(root))
    return (settings["requests_at_once"], found) if found else None


def _measured(build: Build, plan: Plan, root: Path, phase: str, following: str) -> dict[str, Any]:
    """From what was measured under this plan."""
    (report,) = plan.of("report")
    config = {**report.config, **report.context}
    facts = with_costs(collect(config), config)
    settings = build.phase[phase]
    if phase == "poc":
        found = next(v for v in facts["variants"] if v["name"] == plan.proof)
        reason = facts["cost"]["reasons"].get(plan.proof, "")
        return poc(found, settings, reason, following, _estimated(build, plan, root))
    tried = replica(facts["package"], phase)
    if phase == "pilot":
        return pilot(tried, settings, build.phase["production"], following)
    return production(tried, settings, following)


if __name__ == "__main__":
    main()
