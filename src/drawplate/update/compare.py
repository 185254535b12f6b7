"""The candidate against the champion, on this machine: the same rows, and rounds that take turns."""

import dataclasses
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import write_json
from drawplate.artifacts.manifest import intact_manifest, read_manifest
from drawplate.benchmark.stage import run_stage as benchmark_stage
from drawplate.build.hardware import cores
from drawplate.build.job import read_measurement
from drawplate.build.plan import Node, json_or_none
from drawplate.evaluate.intervals import paired
from drawplate.evaluate.stage import run_stage as evaluate_stage
from drawplate.progress import say

TOKENIZER = "tokenizer.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two engines, and how the plan measures the first.

    Attributes:
        candidate: Its folder.
        champion: Its folder.
        evaluate: The plan's node that evaluates the candidate.
        benchmark: The plan's node that times it.
        machine: What a speed depends on, see `build.hardware.identity`.
    """

    candidate: Path
    champion: Path
    evaluate: Node
    benchmark: Node
    machine: dict[str, Any]

    @property
    def digests(self) -> dict[str, str]:
        """Which bytes are compared."""
        return {
            "candidate": read_manifest(self.candidate)["digest"],
            "champion": read_manifest(self.champion)["digest"],
        }


def same_tokenizer(pair: Pair) -> bool:
    """Whether a token is the same to both, so that perplexities can be compared."""
    one, other = (_sha256(folder, TOKENIZER) for folder in (pair.candidate, pair.champion))
    return one == other


def _sha256(folder: Path, name: str) -> str | None:
    files = read_manifest(folder)["files"]
    return next((str(file["sha256"]) for file in files if file["path"] == name), None)


def champion_evaluation(pair: Pair, noted: dict[str, Any] | None) -> dict[str, Any]:
    """The champion's scores on the rows that the candidate was evaluated on.

    Args:
        pair: The two.
        noted: Its scores as they were noted, None if they were not; taken if they are of the same
            rows, else it is evaluated again.
    """
    data = read_measurement(pair.evaluate.folder, "evaluate")["data"]
    if noted is not None and _rows(noted["data"]) == _rows(data):
        return {**noted, "data": data}
    say("update: evaluating the champion on the rows of today")
    intact_manifest(pair.champion)
    parents = pair.evaluate.parents
    # Its divergence from its base is not asked for, and that base may be gone.
    config = {**pair.evaluate.config, "kl_windows": 0}
    found = evaluate_stage(
        config, pair.champion, parents["base"].folder, parents["data"].folder, cores()
    )
    return {**found, "data": data} if _rows(found["data"]) == _rows(data) else found


def compared_quality(
    pair: Pair, champion: dict[str, Any], candidate: dict[str, Any]
) -> dict[str, Any]:
    """The paired difference, champion first; without perplexity if their tokens are not the same."""
    if same_tokenizer(pair):
        return paired(champion, candidate)
    return paired({**champion, "perplexity": None}, {**candidate, "perplexity": None})


def compared_speed(pair: Pair, cache: Path) -> dict[str, Any]:
    """Both engines timed in turns on this machine, once for each pair of engines.

    Args:
        pair: The two.
        cache: JSON file that keeps the result, so that an update that was killed does not measure
            again.

    Returns:
        `performance`, `against` and `ratio` as of the benchmark stage.
    """
    node = pair.benchmark
    key = {**pair.digests, "machine": pair.machine, "config": node.config}
    before = json_or_none(cache)
    if isinstance(before, dict) and before.get("key") == key:
        result: dict[str, Any] = before["result"]
        return result
    for folder in (pair.candidate, pair.champion):
        intact_manifest(folder)
    say("update: timing candidate and champion in turns, alone on this machine")
    data = node.parents.get("data")
    result = benchmark_stage(
        node.config,
        pair.candidate,
        pair.champion,
        node.parents["machine"].folder,
        cores(),
        data.folder if data else None,
    )
    write_json(cache, {"key": key, "result": result})
    return result


def _rows(data: dict[str, Any]) -> dict[str, Any]:
    """What was evaluated on; on how many windows a divergence was taken is no part of it."""
    limits = {k: v for k, v in data["limits"].items() if k != "kl_windows"}
    return {**data, "limits": limits}
