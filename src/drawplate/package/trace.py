"""Lengths of real requests for the load of an image, from a trace of a service."""

import csv
import dataclasses
import json
import math
from pathlib import Path

from drawplate.errors import DrawplateError

LEAST_ROWS = 2000
"""More than are answered within the seconds of a level."""
COLUMNS = ("input_tokens", "output_tokens")


@dataclasses.dataclass(frozen=True)
class Trace:
    """Requests of a trace that a server takes.

    Attributes:
        lengths: Tokens of prompt and answer of each, in the order of the trace.
        left_out: How many are longer than the server allows.
    """

    lengths: list[tuple[int, int]]
    left_out: int

    def write(self, path: Path) -> None:
        """Write it as GuideLLM reads traces, every request at once: how many are in flight is its profile's.

        A short one is repeated: GuideLLM 0.8.1 waits forever where fewer requests are left than streams.
        """
        times = math.ceil(LEAST_ROWS / len(self.lengths))
        rows = (
            {"timestamp": 0, "input_length": prompt, "output_length": new}
            for prompt, new in self.lengths * times
        )
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def facts(self) -> dict[str, int]:
        """How many, and the middle of their lengths."""
        prompts, answers = (sorted(column) for column in zip(*self.lengths, strict=True))
        middle = len(prompts) // 2
        return {
            "requests": len(self.lengths),
            "left_out": self.left_out,
            "prompt_tokens_median": prompts[middle],
            "new_tokens_median": answers[middle],
        }


def read_trace(
    path: Path, max_prompt_tokens: int, max_new_tokens: int, around_tokens: int = 0
) -> Trace:
    """Read a CSV file with the columns `input_tokens` and `output_tokens`.

    Args:
        path: The file.
        max_prompt_tokens: Of a request, chat template included.
        max_new_tokens: Of an answer.
        around_tokens: What a chat template puts around a prompt.

    Raises:
        DrawplateError: If it is not there, is none, or no request of it fits.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if not {*COLUMNS} <= {*(reader.fieldnames or ())}:
                raise DrawplateError(
                    f"package.load.trace: {path} lacks the columns {' and '.join(COLUMNS)}",
                    "name a CSV file that has them",
                )
            rows = [(int(row[COLUMNS[0]]), int(row[COLUMNS[1]])) for row in reader]
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise DrawplateError(
            f"package.load.trace: {path} cannot be read ({error})", "name a CSV file of requests"
        ) from None
    room = max_prompt_tokens - around_tokens
    kept = [(p, n) for p, n in rows if 1 <= p <= room and 1 <= n <= max_new_tokens]
    if not kept:
        raise DrawplateError(
            f"package.load.trace: no request of {path} fits the server's limits "
            f"({room} tokens of prompt, {max_new_tokens} of answer)",
            "raise package.limits, or name another trace",
        )
    return Trace(kept, len(rows) - len(kept))
