"""The nodes of recipes: one checkpoint a step, shared by all recipes that begin the same way."""

from pathlib import Path
from typing import Any

from drawplate.build.keys import digest_of_key
from drawplate.build.plan import Node, Planner
from drawplate.build.stages import stage_of
from drawplate.build.students import add_distill_parents

# Of a distill step, what the teacher's answers depend on.
TEACHER_SETTINGS = ("loss", "windows", "held_out_windows", "window_tokens", "temperature", "top_k")


def add_chain(
    planner: Planner,
    steps: dict[str, dict[str, Any]],
    checkpoints: dict[str, Node],
    data: Node,
    artifacts: Path,
) -> None:
    """Add a recipe's steps that no recipe before it brought.

    Args:
        planner: Where they are added.
        steps: The recipe's steps by label, in order.
        checkpoints: Nodes by lineage, the base's among them; those added here join them.
        data: The data.
        artifacts: Folder of the model's artifacts.
    """
    lineage = "base"
    for label, step in steps.items():
        parent, lineage = lineage, f"{lineage}.{label}"
        if lineage in checkpoints:
            continue
        config = {k: v for k, v in step.items() if k not in ("kind", "student")}
        parents = {"parent": checkpoints[parent], "data": data}
        if step["kind"] == "distill":
            parents["teacher"] = _add_teacher(planner, step, checkpoints, data, artifacts)
            parents |= add_distill_parents(planner, step, checkpoints, artifacts)
        checkpoints[lineage] = planner.add(
            stage_of(step), lineage, artifacts / lineage, config, parents
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
