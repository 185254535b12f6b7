"""Run a program that is asked and answers in JSON, in this environment or in another."""

import os
import subprocess
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.errors import DrawplateError
from drawplate.progress import say

TRACE_LINES = 40


def ask(command: list[str], request: dict[str, Any], scratch: Path, what: str) -> dict[str, Any]:
    """Start a program, pass on its progress lines, and read what it answered.

    Args:
        command: The program and its arguments; the request's file is added to them.
        request: Written as `request.json` into `scratch`; `threads` is for the program's OpenMP.
        scratch: An empty folder, where the program leaves `answer.json`.
        what: How a message calls the program.

    Raises:
        DrawplateError: If it fails, with the last line it wrote to standard error. The lines before
            that are said first, so that the log holds them.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    write_json(scratch / "request.json", request)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(request["threads"]),
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",  # bars are for terminals
        "TOKENIZERS_PARALLELISM": "false",
    }
    with (scratch / "stderr.txt").open("w+") as trace:
        # Whoever writes to a pipe that nobody reads any more ends: so does an orphan of ours.
        process = subprocess.Popen(
            [*command, str(scratch / "request.json")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=trace,
            text=True,
            env=environment,
        )
        try:
            for line in process.stdout or ():
                say(line.rstrip())
            code = process.wait()
        finally:
            process.kill()
        trace.seek(0)
        lines = [line.rstrip() for line in trace if line.strip()]
    if code:
        for line in lines[-TRACE_LINES:]:
            say(line)
        reason = lines[-1] if lines else f"exit status {code}"
        raise DrawplateError(f"{what} failed: {reason}", "the lines before this one show where")
    answer: dict[str, Any] = read_json(scratch / "answer.json")
    return answer
