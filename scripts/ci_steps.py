"""Run the shell steps of a GitHub workflow or a GitLab CI file here, as their runners would.

What only a hosted service can do (actions by `uses:`, images, rules, artifacts) is named and left
out. Conditions may compare the event, joined by `&&`; others are refused.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from drawplate.errors import DrawplateError, one_line_errors

EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
COMPARED = re.compile(r"github\.event_name (==|!=) '(\w+)'")
EVENT_VARIABLES = {"github": "GITHUB_EVENT_NAME", "gitlab": "CI_PIPELINE_SOURCE"}
ENVIRONMENT = "Environment"
GITLAB_SOURCE = re.compile(r'CI_PIPELINE_SOURCE == "(\w+)"')


def main() -> int:
    """Run every step in order, in the current folder; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help=".github/workflows/NAME.yml or .gitlab-ci.yml")
    parser.add_argument("--event", required=True, help="push, schedule, pull_request, ...")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable that the service would set; what a file takes from ${{ }} is empty otherwise",
    )
    parser.add_argument(
        "--with-environment", action="store_true", help="make the environment too, which is here"
    )
    arguments = parser.parse_args()
    with one_line_errors():
        content = read(arguments.file)
        kind = "github" if "jobs" in content else "gitlab"
        check_event(content, kind, arguments.event)
        given = dict(variable(pair) for pair in arguments.set)
        variables = {EVENT_VARIABLES[kind]: arguments.event, **_written(content), **given}
        steps = github(content, arguments.event) if kind == "github" else gitlab(content)
        for name, command in steps:
            if command is None or (name == ENVIRONMENT and not arguments.with_environment):
                print(f"--- left out: {name}", flush=True)
                continue
            print(f"--- {name}", flush=True)
            shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command]
            status = subprocess.run(shell, env={**os.environ, **variables}, check=False).returncode
            if status:
                print(f"--- {name} ended with status {status}", file=sys.stderr)
                return 1
    return 0


def read(file: Path) -> dict[Any, Any]:
    """A definition of CI.

    Raises:
        DrawplateError: If it cannot be read, or is none.
    """
    remedy = "name .github/workflows/NAME.yml or .gitlab-ci.yml"
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise DrawplateError(f"{file} cannot be read ({error.strerror})", remedy) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise DrawplateError(f"{file} is no YAML", remedy) from None
    entries = content if isinstance(content, dict) else {}
    if "jobs" not in entries and not any(gitlab(entries)):
        raise DrawplateError(f"{file} defines no jobs", remedy)
    return entries


def variable(pair: str) -> tuple[str, str]:
    """Name and value of a variable that is given.

    Raises:
        DrawplateError: If there is no value.
    """
    name, given, value = pair.partition("=")
    if not (name and given):
        raise DrawplateError(f"--set {pair} gives no value", f"write --set {name or 'NAME'}=VALUE")
    return name, value


def check_event(content: dict[Any, Any], kind: str, event: str) -> None:
    """Refuse an event for which the service would run nothing.

    Raises:
        DrawplateError: Naming those that the file answers to.
    """
    if kind == "github":
        known = {str(name) for name in content[True]}  # YAML takes the key `on` for a truth
    else:
        known = set(GITLAB_SOURCE.findall(yaml.safe_dump(content)))
    if event not in known:
        raise DrawplateError(
            f"nothing runs on the event {event!r}", f"choose from {', '.join(sorted(known))}"
        )


def github(content: dict[Any, Any], event: str) -> Iterator[tuple[str, str | None]]:
    """Name and command of each step of each job; no command where a service is needed."""
    for job in content["jobs"].values():
        for step in job["steps"]:
            name = step.get("name") or step.get("uses") or step["run"].splitlines()[0]
            if "uses" in step:
                yield f"{name} (uses {step['uses']})", None
            elif _holds(step.get("if"), event):
                if EXPRESSION.search(step["run"]):
                    raise DrawplateError(
                        f"step {name!r} has an expression in its shell lines",
                        "hand it over in env",
                    )
                yield name, step["run"]


def gitlab(content: dict[Any, Any]) -> Iterator[tuple[str, str | None]]:
    """Name and command of each job's scripts; lines of one script share a shell."""
    for name, job in content.items():
        if not isinstance(job, dict) or "script" not in job:
            continue
        yield f"{name} (image {job.get('image')})", None
        yield ENVIRONMENT, "\n".join(job.get("before_script", []))
        yield name, "\n".join(job["script"])


def _holds(condition: str | None, event: str) -> bool:
    """Whether a step's condition holds for an event.

    Raises:
        DrawplateError: If it asks for anything else.
    """
    for part in condition.split("&&") if condition else ():
        found = COMPARED.fullmatch(part.strip())
        if found is None:
            raise DrawplateError(
                f"condition {part.strip()!r} is not known here", "compare the event"
            )
        if (found[2] == event) != (found[1] == "=="):
            return False
    return True


def _written(content: dict[Any, Any]) -> dict[str, str]:
    """The variables that the file itself sets; what a service fills in is left empty."""
    entries = {**content.get("env", {}), **content.get("variables", {})}
    return {name: EXPRESSION.sub("", str(value)) for name, value in entries.items()}


if __name__ == "__main__":
    sys.exit(main())
