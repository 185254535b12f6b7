"""`drawplate pareto`: the cheapest variant that meets limits, out of reports already built.

Cheapest is what `--by` says: the smallest files (size), the fewest megabytes while it runs
(memory), or the fastest (speed).
"""

import argparse
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.cli.experiment import root
from drawplate.errors import DrawplateError
from drawplate.report.rank import COSTS, decode_speed

MEASURED = ("artifact", "quality", "performance")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    limit = parser.add_argument
    limit("--max-ppl", type=float, help="perplexity, at most")
    limit("--max-latency-ms", type=float, help="milliseconds a token at batch 1, at most")
    limit("--max-first-token-ms", type=float, help="time to first token at batch 1, at most")
    limit("--min-tokens-per-s", type=float, help="decode speed at batch 1, at least")
    limit("--min-retention", type=float, help="share of the base's quality kept, at least")
    limit("--max-memory-mb", type=float, help="peak resident memory, at most")
    limit("--max-size-mb", type=float, help="size of the engine's files, at most")
    limit(
        "--stopped",
        action="store_true",
        help="choose among the variants that the gate stopped too; such a one is marked",
    )
    limit(
        "--by",
        choices=tuple(COSTS),
        default="size",
        help="what makes a variant cheap: size of its files (default), memory, or speed",
    )
    limit(
        "--report",
        type=Path,
        action="append",
        help="report.json to choose from, may be given several times (default: results/*/)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the cheapest variant that passed its gate (or any) and meets every limit given.

    Raises:
        DrawplateError: If no report is there or no variant meets the limits.
    """
    paths = arguments.report or sorted(root().glob("results/*/report.json"))
    if not paths:
        raise DrawplateError("there is no report", "build one: make artifacts")
    variants = [v for path in paths for v in _variants(path)]
    measured = [v for v in variants if v["status"] == "ok"]
    passed = [v for v in measured if v["gate"]["passed"]]
    asked = measured if arguments.stopped else passed
    meeting = [v for v in asked if meets(v, arguments)]
    if not asked:
        raise DrawplateError(
            f"none of {len(variants)} variants in the report "
            + ("was measured" if arguments.stopped else "passed the gate"),
            "give --stopped to count those that the gate stopped" if measured else "build them",
        )
    if not meeting:
        which = "were measured" if arguments.stopped else "passed the gate"
        others = sum(meets(v, arguments) for v in measured) if asked is passed else 0
        hint = f", or give --stopped: {others} that the gate stopped would meet them"
        raise DrawplateError(
            f"none of {len(asked)} variants that {which} meets the limits "
            f"({len(variants)} in the report)",
            "loosen a limit" + (hint if others else ""),
        )
    print(line(min(meeting, key=COSTS[arguments.by])))
    return 0


def _variants(path: Path) -> list[dict[str, Any]]:
    """The variants of a report.

    Raises:
        DrawplateError: If the file is none, or no report.
    """
    report = read_json(path)
    rows = report.get("variants") if isinstance(report, dict) else None
    if not isinstance(rows, list) or not all(_is_variant(row) for row in rows):
        raise DrawplateError(
            f"{path} is no report of a build", "give a results/<model>/report.json"
        )
    return rows


def _is_variant(row: Any) -> bool:
    """Whether a row has what is read of every variant, and if it was measured the figures."""
    if not isinstance(row, dict) or not isinstance(row.get("gate"), dict) or "status" not in row:
        return False
    return row["status"] != "ok" or all(isinstance(row.get(name), dict) for name in MEASURED)


def meets(variant: dict[str, Any], limits: argparse.Namespace) -> bool:
    """Whether a variant is within every limit given; what was not measured meets none."""
    quality, performance = variant["quality"], variant["performance"]
    speed, memory = decode_speed(variant), performance.get("peak_rss_bytes")
    first = (performance.get("batch_1") or {}).get("time_to_first_token_ms")
    at_most = (
        (limits.max_ppl, quality["perplexity"] and quality["perplexity"]["value"]),
        (limits.max_latency_ms, speed and 1000 / speed),
        (limits.max_first_token_ms, first and first["median"]),
        (limits.max_memory_mb, memory and memory / 1e6),
        (limits.max_size_mb, variant["artifact"]["bytes"] / 1e6),
    )
    at_least = ((limits.min_tokens_per_s, speed), (limits.min_retention, quality["retention"]))
    return all(
        limit is None or (value is not None and value <= limit) for limit, value in at_most
    ) and all(limit is None or (value is not None and value >= limit) for limit, value in at_least)


def line(variant: dict[str, Any]) -> str:
    """A variant in one line: name, numbers, path."""
    words = [variant["name"], f"{variant['artifact']['bytes'] / 1e6:.1f} MB"]
    if perplexity := variant["quality"]["perplexity"]:
        words.append(f"perplexity {perplexity['value']:.2f}")
    if speed := decode_speed(variant):
        words.append(f"{speed:.1f} tokens/s")
    words.append(variant["artifact"]["path"])
    if not variant["gate"]["passed"]:
        words.append("(stopped by the gate)")
    return "  ".join(words)
