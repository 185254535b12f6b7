"""A pair of target and draft has its target's scores: the same graph over the same weights gives them.

A draft decides how soon an answer comes, never which. So where the files that a pair is scored
through are byte for byte those of its target's own engine, that engine's evaluation is the pair's.
"""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.artifacts.manifest import intact_manifest, read_manifest

# Whether a pair has these at all is compared as well.
PROCESSING = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def scores_of_target(pair: Path, target: Path, evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """What was measured of the target's engine, as the pair's own.

    Args:
        pair: Engine folder of the pair, compared with its manifest already, whose `engine.json` names under `scored_by` the files that
            logits depend on, and the target's engine's names of them.
        target: Engine folder of the target alone.
        evaluation: Result of the evaluate stage on the target's engine.

    Returns:
        The evaluation with the pair as its `artifact` and the target's engine as
        `measured_through`; None if a file differs, or the evaluation is of something else.

    Raises:
        DrawplateError: If a file of the target is not what its manifest says.
    """
    own, others = read_manifest(pair), intact_manifest(target)
    scored_by: dict[str, str] | None = read_json(pair / "engine.json").get("scored_by")
    if not scored_by or evaluation["artifact"]["digest"] != others["digest"]:
        return None
    pair_files, target_files = (
        {row["path"]: row["sha256"] for row in manifest["files"]} for manifest in (own, others)
    )
    if any(pair_files.get(name) != target_files.get(name) for name in PROCESSING):
        return None
    if any(pair_files.get(ours) != target_files.get(n, "") for ours, n in scored_by.items()):
        return None
    artifact = {"path": str(pair), "digest": own["digest"]}
    return {**evaluation, "artifact": artifact, "measured_through": evaluation["artifact"]}


def scores_of_source(engine: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
    """What was measured of the engine that another was compiled from, as that one's own.

    For an engine whose hardware is not here. The scores are of the very graph that was compiled, run
    elsewhere; they are marked as not the engine's own.

    Args:
        engine: Engine folder, compared with its manifest already.
        evaluation: Result of the evaluate stage on its source.
    """
    return {
        **evaluation,
        "artifact": {"path": str(engine), "digest": read_manifest(engine)["digest"]},
        "source": "checkpoint",
        "measured_through": evaluation["artifact"],
    }
