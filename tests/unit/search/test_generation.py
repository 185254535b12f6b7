"""What a build left of a recipe: measured, failed with a reason, killed, or not tried."""

import time
from pathlib import Path

import pytest

from drawplate.artifacts.files import write_json
from drawplate.build.job import digest_of_result
from drawplate.build.plan import Node, Plan
from drawplate.config.space import Candidate
from drawplate.errors import DrawplateError
from drawplate.search import generation
from drawplate.search.generation import outcome, without_refuted
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
    measured = {"loss": 0.5, "bytes": 7}
    finish(tmp_path, PROXY, {"result": measured, "result_sha256": digest_of_result(measured)})
    assert outcome(PROXY, tmp_path, time.time()) == Outcome(0.5, 7)


def candidate(name: str, problem: str | None = None, **settings) -> Candidate:
    step = {"kind": "quantize", "method": "rtn", "activations": "none", "group_size": 32}
    return Candidate(name=name, choices={}, steps={name: step | settings}, problem=problem)


SIZES = {
    "model_type": "llama",
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "vocab_size": 384,
}
WORDS = {"experiment": "tiny", "overrides": [], "hardware": "cpu"}


@pytest.fixture
def base(monkeypatch):
    """A base that is not built yet, in the plan of every build."""
    base = node("base", "artifacts/tiny/base")
    base.config["source"] = {"kind": "pypi"}
    data = node("data", "artifacts/tiny/data")
    data.config["texts"] = {"book": {"calibration_bytes": 4000}}
    plan = Plan("tiny", "tiny", {}, "", [data, base], [])
    monkeypatch.setattr(generation, "make_plan", lambda words, root: plan)
    return base


def test_recipes_that_the_sizes_of_the_base_refute_are_not_proposed(tmp_path, base, monkeypatch):
    def build(command, alive):
        assert command[-1] == str(base.stamp)
        write_json(tmp_path / base.folder / "config.json", SIZES)
        finish(tmp_path, base, {"files": []})
        return 0

    monkeypatch.setattr(generation, "run_build", build)
    space = {
        "a": candidate("a", "no engine"),
        "b": candidate("b"),
        "c": candidate("c", group_size=64),
        "d": candidate("d", method="gptq", windows=100, window_tokens=64),
    }
    told = without_refuted(space, WORDS, tmp_path, 1)
    assert (told["a"].problem, told["b"].problem) == ("no engine", None)
    assert told["c"].problem.startswith("step c: group_size 64 does not divide the 96 columns")
    assert "ask for 6400 tokens, there are 4000 bytes" in told["d"].problem
    monkeypatch.setattr(generation, "run_build", None)  # it is built already
    with pytest.raises(DrawplateError, match="no recipe of its space can be built: step c: group"):
        without_refuted({"c": space["c"]}, WORDS, tmp_path, 1)


def test_a_base_that_cannot_be_built_ends_a_search_with_its_reason(tmp_path, base, monkeypatch):
    def build(command, alive):
        write_json(tmp_path / base.failure_file, {"key": base.digest, "reason": "no network"})
        return 1

    monkeypatch.setattr(generation, "run_build", build)
    with pytest.raises(DrawplateError, match=r"base could not be built: base base\.q: no net"):
        without_refuted({"b": candidate("b")}, WORDS, tmp_path, 1)
