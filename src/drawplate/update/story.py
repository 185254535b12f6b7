"""What an update found, as `update.json` and as the table that a pull request carries."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import write_json
from drawplate.report.numbers import DASH, megabytes, number, signed_percent

Story = dict[str, Any]
PROMOTING, PROMOTED, REFUSED = "promoting", "promoted", "refused"
PROPOSED, FIRST, UNCHANGED, NONE = "proposed", "first", "unchanged", "no candidate"
HEADS = {
    PROMOTING: "the candidate takes the champion's place",
    PROMOTED: "the candidate is the new champion",
    PROPOSED: "the candidate may take the champion's place",
    REFUSED: "the champion stays",
    FIRST: "the first champion",
    UNCHANGED: "the build chose the champion itself",
    NONE: "no candidate, the champion stays",
}
SPEEDS = {
    "decode_tokens_per_s": "decode, tokens/s",
    "prefill_tokens_per_s": "prefill, tokens/s",
    "time_to_first_token_ms": "first token, ms",
}


def write_story(story: Story, results: Path) -> None:
    """Write `update.json` and `update.md`.

    Args:
        story: `model`, `decision`, `reasons`, `champion`, `candidate` (see `side`; None where there is
            none), `paired`, `ratio`, `measures`, `machine`, `champion_machine` (where
            it was measured before), `git_commit`, `command`, `rounds`.
        results: `results/<model>`.
    """
    partial = results / ".update.md.partial"
    partial.write_text(markdown(story))
    partial.replace(results / "update.md")
    write_json(results / "update.json", story)


def side(
    record: dict[str, Any], evaluation: dict[str, Any] | None, performance: dict[str, Any] | None
) -> dict[str, Any]:
    """One column of the table.

    Args:
        record: `digest`, `variant`, `base` {`source`, `sha256`}, `bytes`, `version`.
        evaluation: Result of the evaluate stage.
        performance: Its speeds, in turns with the other's if there is one.
    """
    scores = evaluation or {"perplexity_all": None, "tasks": {}}
    first = (performance or {}).get("batch_1") or {}
    return {
        **{k: record.get(k) for k in ("variant", "version", "digest", "bytes", "base")},
        "perplexity": scores["perplexity_all"],
        "tasks": {
            name: {k: task[k] for k in ("accuracy", "ci95", "examples") if k in task}
            for name, task in scores["tasks"].items()
        },
        **{name: first.get(name) for name in SPEEDS},
        "peak_rss_bytes": (performance or {}).get("peak_rss_bytes"),
    }


def markdown(story: Story) -> str:
    """The table, with what was decided and why."""
    lines = [f"## {story['model']}: {HEADS[story['decision']]}", ""]
    lines += [f"- {reason}" for reason in story["reasons"]] + [""] * bool(story["reasons"])
    if story["candidate"]:
        lines += ["| | champion before | candidate | difference |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in _rows(story)] + [""]
    if story["measures"]:
        lines += ["<details><summary>What was judged</summary>", ""]
        lines += [
            f"- {'passed' if m['passed'] else '**failed**'}: {m['sentence']}"
            for m in story["measures"].values()
        ]
        lines += ["", "</details>", ""]
    return "\n".join([*lines, _footer(story), ""])


def _rows(story: Story) -> list[list[str]]:
    before, after = story["champion"] or {}, story["candidate"]
    columns = (before, after)
    bases = [column.get("base") or {} for column in columns]
    rows = [
        ["variant", *(_text(c.get("variant")) for c in columns), ""],
        ["base", *(_text(base.get("source")) for base in bases), ""],
        ["base's SHA-256", *(_short(base.get("sha256")) for base in bases), ""],
        ["engine's digest", *(_short(c.get("digest")) for c in columns), ""],
        ["version in MLflow", *(_text(c.get("version")) for c in columns), ""],
    ]
    return [*rows, *_quality_rows(story, before, after), *_cost_rows(story, before, after)]


def _quality_rows(story: Story, before: Story, after: Story) -> Iterator[list[str]]:
    paired = story["paired"] or {}
    if after["perplexity"]:
        scores = (_scored(c.get("perplexity"), "value", 2) for c in (before, after))
        yield [
            "perplexity",
            *scores,
            _change(paired.get("perplexity"), "relative_change", signed_percent),
        ]
    for name in after["tasks"]:
        scores = (_scored((c.get("tasks") or {}).get(name), "accuracy", 3) for c in (before, after))
        yield [
            name,
            *scores,
            _change((paired.get("tasks") or {}).get(name), "difference", "{:+.3f}".format),
        ]


def _cost_rows(story: Story, before: Story, after: Story) -> Iterator[list[str]]:
    ratio = (story["ratio"] or {}).get("batch_1") or {}
    for name, words in SPEEDS.items():
        if after[name]:
            speeds = (_spread(c.get(name), 1) for c in (before, after))
            told = _spread(ratio[name], 2, " times") if ratio.get(name) else ""
            yield [words, *speeds, told]
    for name, words in (("bytes", "size"), ("peak_rss_bytes", "peak memory")):
        own, other = after.get(name), before.get(name)
        told = f"{own / other:.2f} times" if own and other else ""
        yield [words, megabytes(other), megabytes(own), told]


def _footer(story: Story) -> str:
    machine, own = story["machine"], story["candidate"] or {}
    speed = own.get("decode_tokens_per_s") or own.get("prefill_tokens_per_s") or {}
    rounds = story["rounds"] or speed.get("repeats")
    words = [f"Brackets: 95 % interval, or range of {rounds} rounds." if rounds else ""]
    words.append(f"Measured on {machine['cpu']}, {machine['cores']} cores" if machine else "")
    if story["champion"] and story["ratio"]:
        words[-1] += ", champion and candidate in turns"
        earlier = (story["champion_machine"] or {}).get("cpu")
        if earlier and earlier != machine["cpu"]:
            words[-1] += f" (the champion was measured on {earlier} before)"
    words[-1] += "."
    if story["git_commit"]:
        words.append(f"Commit {story['git_commit'][:12]}.")
    return " ".join([*filter(None, words), f"`{story['command']}`"])


def _short(digest: str | None) -> str:
    return f"`{digest[:16]}`" if digest else DASH


def _scored(score: dict[str, Any] | None, name: str, digits: int) -> str:
    if not score:
        return DASH
    ends = score.get("ci95")
    around = f" [{number(ends[0], digits)}, {number(ends[1], digits)}]" if ends else ""
    return number(score[name], digits) + around


def _text(value: object) -> str:
    return DASH if value is None else str(value)


def _change(change: dict[str, Any] | None, name: str, show: Callable[[float], str]) -> str:
    if not change:
        return ""
    ends = change.get("ci95")
    return show(change[name]) + (f" [{show(ends[0])}, {show(ends[1])}]" if ends else "")


def _spread(speed: dict[str, Any] | None, digits: int, unit: str = "") -> str:
    if not speed:
        return DASH
    low, high = number(speed["min"], digits), number(speed["max"], digits)
    return f"{number(speed['median'], digits)}{unit} [{low}, {high}]"
