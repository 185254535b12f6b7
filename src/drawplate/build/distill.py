"""What a distill step needs besides its parent: a teacher's answers, the teacher, a student."""

from pathlib import Path
from typing import Any

from drawplate.build.keys import digest_of_key
from drawplate.build.plan import Node, Planner
from drawplate.config.schema import source_packages

# Of a distill step, what the teacher's answers depend on.
TEACHER_SETTINGS = ("windows", "held_out_windows", "window_tokens", "temperature", "top_k")


def add_distill_parents(
    planner: Planner,
    step: dict[str, Any],
    checkpoints: dict[str, Node],
    data: Node,
    artifacts: Path,
) -> dict[str, Node]:
    """Add the nodes that a distill step reads.

    Args:
        planner: Where they are added.
        step: The step's settings.
        checkpoints: Nodes of the ancestors by lineage.
        data: Node of the data stage.
        artifacts: Folder of the model's artifacts.

    Returns:
        Nodes by role: `teacher` (its answers); `live_teacher` if the student writes windows that
        only a running teacher can judge; `parent` if the step brings a student of its own.
    """
    nodes = {"teacher": _add_teacher(planner, step, checkpoints, data, artifacts)}
    if step["on_policy_share"]:
        nodes["live_teacher"] = checkpoints[step["teacher"]]
    if step["student"]:
        nodes["parent"] = _add_student(planner, step["student"], artifacts)
    return nodes


def _add_student(planner: Planner, student: dict[str, Any], artifacts: Path) -> Node:
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
            {**student, "task": "causal-lm"},
            packages=source_packages(student["source"]),
        )
    )


def _add_teacher(
    planner: Planner,
    step: dict[str, Any],
    checkpoints: dict[str, Node],
    data: Node,
    artifacts: Path,
) -> Node:
    """The teacher's answers: one node for all steps that learn the same from the same teacher."""
    config = {k: step[k] for k in TEACHER_SETTINGS}
    config["hidden_layers"] = step["hidden_layers"] if step["hidden_weight"] else 0
    name = f"{step['teacher']}-{digest_of_key(config)[:8]}"
    known = [n for n in planner.nodes if (n.stage, n.name) == ("teacher", name)]
    return (
        known[0]
        if known
        else planner.add(
            "teacher",
            name,
            artifacts / "teachers" / name,
            config,
            {"parent": checkpoints[step["teacher"]], "data": data},
        )
    )
