"""Where the student of a distillation comes from: chosen layers, or a checkpoint of its own."""

from typing import Any

from drawplate.config.sections import Name, Section, Size, Source


class Student(Section):
    """A checkpoint of its own to distill into, instead of the step's parent; as `conf/base/`."""

    name: Name
    notes: str = ""
    parameters: Size | None = None
    source: Source


def layer_choice(value: Any) -> Any:
    """Check a prune step's `keep_layers`: None, `even`, or the indices of layers.

    Raises:
        ValueError: If it is none of them.
    """
    if value in (None, "even"):
        return value
    # Not True, which is a whole number to Python.
    whole = isinstance(value, list) and value and all(type(v) is int and v >= 0 for v in value)
    if not whole or value != sorted(set(value)):
        raise ValueError("write null, even, or the layers that stay, ascending, as [0,2,4]")
    return value


def check_students(recipes: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Refuse two recipes that would fetch different students into one folder.

    Args:
        recipes: The steps of every recipe, by label.

    Raises:
        ValueError: Naming both recipes and what to write instead.
    """
    students: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, steps in recipes.items():
        for student in (step["student"] for step in steps.values() if step.get("student")):
            first, other = students.setdefault(student["name"], (name, student))
            if other != student:
                raise ValueError(
                    f"recipes {first} and {name} both name a student {student['name']}, with "
                    "different settings: rename one"
                )
