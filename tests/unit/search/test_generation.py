"""What a build left of a recipe: measured, failed with a reason, killed, or not tried."""

import time
from pathlib import Path

from drawplate.artifacts.files import write_json
from drawplate.build.plan import Node
from drawplate.search.generation import outcome
from drawplate.search.trials import Outcome


def node(stage: str, folder: str, **parents: Node) -> Node:
    key = {"config": {"stage": stage}, "versions": {}}
    return Node(
        stage=stage,
        name="base.q",
        folder=Path(folder),
        model="tiny",
        config={},
        parents=parents,
        key=key,
        context={},
    )


QUANTIZE = node("quantize", "artifacts/q")
PROXY = node("proxy", "results/proxy", parent=QUANTIZE)


def finish(root: Path, which: Node, record: dict) -> None:
    write_json(root / which.record, record)
    (root / which.stamp).touch()


def test_a_recipe_that_was_not_tried_has_neither_loss_nor_reason(tmp_path) -> None:
    assert outcome(PROXY, tmp_path, time.time()) == Outcome(None, None)


def test_the_first_unfinished_job_tells_its_reason_if_it_is_of_this_key(tmp_path) -> None:
    failure = tmp_path / QUANTIZE.failure_file
    write_json(failure, {"key": "another", "reason": "old"})
    assert outcome(PROXY, tmp_path, 0.0).reason is None
    write_json(failure, {"key": QUANTIZE.digest, "reason": "too little text"})
    assert outcome(PROXY, tmp_path, 0.0).reason == "quantize base.q: too little text"


def test_a_killed_job_is_known_by_its_log_of_this_build(tmp_path) -> None:
    log = tmp_path / f"logs/quantize/tiny.base.q.{QUANTIZE.digest}.log"
    log.parent.mkdir(parents=True)
    log.touch()
    assert "ended without a reason, see logs/quantize" in str(
        outcome(PROXY, tmp_path, time.time()).reason
    )
    assert outcome(PROXY, tmp_path, time.time() + 60).reason is None


def test_a_measured_recipe_has_both_numbers(tmp_path) -> None:
    finish(tmp_path, QUANTIZE, {"files": []})
    finish(tmp_path, PROXY, {"result": {"loss": 0.5, "bytes": 7}})
    assert outcome(PROXY, tmp_path, time.time()) == Outcome(0.5, 7)
