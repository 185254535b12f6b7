"""What a distill step reads besides its teacher's answers: a student of its own, the teacher."""

from pathlib import Path
from typing import Any

from drawplate.build.plan import Node, Planner
from drawplate.config.build import Build, source_packages


def add_distill_parents(
    planner: Planner, step: dict[str, Any], checkpoints: dict[str, Node], artifacts: Path
) -> dict[str, Node]:
    """Add the nodes that only some distill steps read.

    Args:
        planner: Where they are added.
        step: The step's settings.
        checkpoints: Nodes of the ancestors by lineage.
        artifacts: Folder of the model's artifacts.

    Returns:
        Nodes by role: `live_teacher` if the student writes windows that only a running teacher
        can judge; `parent` if the step brings a student of its own.
    """
    nodes = {}
    if step["on_policy_share"]:
        nodes["live_teacher"] = checkpoints[step["teacher"]]
    if step["student"]:
        nodes["parent"] = _add_student(
            planner, step["student"], checkpoints["base"].config["task"], artifacts
        )
    return nodes


def _add_student(planner: Planner, student: dict[str, Any], task: str, artifacts: Path) -> Node:
    """A smaller checkpoint to distill into, fetched as the base is; one node for all its steps."""
    name = f"students/{student['name']}"
    known = [n for n in planner.nodes if (n.stage, n.name) == ("base", name)]
    return (
        known[0]
        if known
        else planner.add(
            "base",
            name,
            artifacts / name,
            {**student, "task": task},
            packages=tuple(source_packages(student["source"])),
        )
    )


def student_sources(build: Build) -> dict[str, dict[str, Any]]:
    """Sources of the students by the place where they stand in the configuration."""
    return {
        f"recipes.{name}.steps.{label}.student.source": step["student"]["source"]
        for name, recipe in build.recipes.items()
        for label, step in recipe.steps.items()
        if step.get("student")
    }
