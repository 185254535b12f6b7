"""How a server is started: its command lines, and the script that runs them without a container."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

MODEL = "model"
SCRIPT = "launch.sh"
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def front_process(server: dict[str, Any]) -> str:
    """The process that clients talk to: the last one."""
    return list(server["processes"])[-1]


def filled(arguments: list[str], values: Mapping[str, str]) -> list[str]:
    """Arguments with what their placeholders stand for; braces around anything else stay."""

    def value(found: re.Match[str]) -> str:
        return values.get(found[1], found[0])

    return [PLACEHOLDER.sub(value, argument) for argument in arguments]


def port_variable(server: dict[str, Any], process: str) -> str:
    """The variable that says which port a process listens on."""
    return "PORT" if process == front_process(server) else f"{process.upper()}_PORT"


def script(server: dict[str, Any], values: Mapping[str, str], port: int) -> str:
    """The text of `launch.sh`, which starts every process of a server beside the model.

    Args:
        server: A file of `conf/server/`.
        values: `name`, `context` and so on, see `config.bundles.Process`.
        port: Where clients find it unless PORT says otherwise.
    """
    lines = [
        "#!/bin/sh",
        f"# Starts {server['description']} on the model beside this file.",
        "# HOST and PORT say where it listens; what follows the script's name goes to the program that",
        "# loads the model.",
        "set -eu",
        'cd "$(dirname "$0")"',
        'HOST="${HOST:-127.0.0.1}"',
    ]
    for name, process in server["processes"].items():
        default = port if name == front_process(server) else process["port"]
        variable = port_variable(server, name)
        lines.append(f'{variable}="${{{variable}:-{default}}}"')
    for name, value in server["variables"].items():
        lines.append(f'export {name}="${{{name}:-{value}}}"')
    several = len(server["processes"]) > 1
    if several:
        lines += ["pids=", "trap 'kill $pids 2>/dev/null || true' EXIT", "trap 'exit 143' TERM INT"]
    for name, process in server["processes"].items():
        line = " ".join([*map(shlex.quote, process["program"]), *_words(server, name, values)])
        if process["model"]:
            line += ' "$@"'
        lines += [f"{line} &", 'pids="$pids $!"'] if several else [f"exec {line}"]
    if several:
        lines += [
            "# All of them, or none.",
            "while :; do",
            '  for pid in $pids; do kill -0 "$pid" 2>/dev/null || exit 1; done',
            "  sleep 1",
            "done",
        ]
    return "\n".join(lines) + "\n"


def _words(server: dict[str, Any], name: str, values: Mapping[str, str]) -> list[str]:
    """Arguments of a process as words of a shell, variables among them."""
    addresses = {
        other: f"http://127.0.0.1:${port_variable(server, other)}" for other in server["processes"]
    }
    shell = {"host": "$HOST", "port": f"${port_variable(server, name)}", **addresses}
    words = []
    for argument in server["processes"][name]["arguments"]:
        (word,) = filled([argument], {**values, MODEL: MODEL, **shell})
        words.append(f'"{word}"' if word != argument and "$" in word else shlex.quote(word))
    return words
