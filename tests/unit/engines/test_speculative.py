"""Speculative decoding: the target's own greedy answer, whatever the draft proposes."""

import itertools
import json
import shutil

import numpy as np
import pytest

from drawplate import engines
from drawplate.artifacts.files import read_json
from drawplate.engines.protocol import Acceptance, Speculates
from drawplate.engines.speculative import check_vocabulary
from drawplate.engines.speculative.engine import SpeculativeEngine
from drawplate.errors import DrawplateError

# (target, draft): a draft that is often wrong, one that is nearly always right, the target itself,
# and a target whose favourite token is the one that GenAI ends at.
PAIRS = (
    ("tied", "tied-int4"),
    ("tied", "tied-int8"),
    ("tied", "tied"),
    ("untied", "untied-int4"),
    ("tied-int4", "tied"),
)


def prompt(tokens: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(tokens).integers(3, 500, size=(batch, tokens))


@pytest.fixture(scope="module")
def pair(checkpoint, tmp_path_factory):
    """A function that compiles a target and its draft: their folder and label."""
    made = {}

    def make(target: str, draft: str):
        if (target, draft) not in made:
            folder = tmp_path_factory.mktemp("pair")
            options = {"draft": "some", "draft_tokens": 3, "accuracy_level": 0}
            label = engines.pair_compiler("speculative")(
                checkpoint(target), folder, options, 1, checkpoint(draft)
            )
            made[target, draft] = (folder, label)
        return made[target, draft]

    return make


def opened(folder, draft_tokens: int) -> SpeculativeEngine:
    settings = {**read_json(folder / "engine.json"), "draft_tokens": draft_tokens}
    return SpeculativeEngine(folder, settings, 1)


def calm_prompt(engine: SpeculativeEngine, new: int) -> np.ndarray:
    """A prompt whose answer is free of GenAI's end token, so that it is counted in one go."""
    return next(p for n in range(2, 60) if 511 not in engine.generate(p := prompt(n), new))


@pytest.mark.parametrize(("target", "draft"), PAIRS)
def test_the_answer_is_the_targets_own(target, draft, pair):
    folder, _ = pair(target, draft)
    alone = engines.load("onnxruntime", folder / "target", 1)
    for draft_tokens in (1, 2, 3, 5, 16):
        engine = opened(folder, draft_tokens)
        # Answers that end at every place of a pass, the first among them.
        for tokens, new in ((1, 1), (1, 2), (2, 3), (9, 4), (9, 5), (9, 7), (30, 24)):
            ids, steps = prompt(tokens), itertools.count()
            answer = engine.generate(ids, new, on_token=lambda: next(steps))
            np.testing.assert_array_equal(answer, alone.generate(ids, new))
            assert next(steps) == new


def test_a_draft_that_is_the_target_is_always_right(pair):
    engine = opened(pair("tied", "tied")[0], 3)
    engine.generate(calm_prompt(engine, 33), 33)
    found = engine.acceptance
    # The first token comes without a pass of the pair; then 8 passes of 3 proposals and one more.
    assert (found.evaluated, found.accepted) == (24, 24)
    assert (found.kept, found.target_passes) == (32, 8)


def test_a_wrong_draft_costs_passes_and_nothing_else(pair):
    engine = opened(pair("tied", "tied-int4")[0], 4)
    engine.generate(calm_prompt(engine, 40), 40)
    found = engine.acceptance
    assert 0 < found.accepted < found.evaluated
    # Each pass adds one token of the target's own; not the last, if there is no room for it.
    assert found.target_passes - (found.kept - found.accepted) in (0, 1)
    assert isinstance(engine, Speculates)


@pytest.mark.parametrize("draft", ["tied", "tied-int4"])
def test_it_stops_in_the_middle_of_an_accepted_run(draft, pair):
    engine = opened(pair("tied", draft)[0], 5)
    free = engine.generate(prompt(9), 16)[0]
    for stop in dict.fromkeys(free.tolist()):
        end = int((free == stop).argmax())
        answer = engine.generate(prompt(9), 16, stop_ids=(stop, 499))
        np.testing.assert_array_equal(answer[0], free[: end + 1])


def test_a_batch_is_answered_by_the_target_alone(pair):
    folder, _ = pair("tied", "tied-int4")
    engine = engines.load("speculative", folder, 1)
    alone = engines.load("onnxruntime", folder / "target", 1)
    ids = prompt(9, batch=3)
    expected = alone.generate(ids, 12)
    before = engine.generate(ids[:1], 12)
    np.testing.assert_array_equal(engine.generate(ids, 12), expected)
    assert engine.acceptance is None
    np.testing.assert_array_equal(engine.generate(ids[:1], 12), before)
    assert isinstance(engine.acceptance, Acceptance)
    np.testing.assert_array_equal(before, expected[:1])


def test_logits_are_the_targets_own(pair, reference):
    engine = engines.load("speculative", pair("tied", "tied-int4")[0], 1)
    ids = prompt(20, batch=2)
    np.testing.assert_allclose(engine.logits(ids), reference("tied").logits(ids), atol=2e-3)
    with pytest.raises(DrawplateError, match="is a causal language model"):
        engine.embed(ids, ids)


def test_the_label_counts_both_models(pair, compiled):
    _, label = pair("tied", "tied-int4")
    target = compiled("onnxruntime", "tied", accuracy_level=0)[1]
    draft = compiled("onnxruntime", "tied-int4", accuracy_level=0)[1]
    assert label["weights_dtype"] == "float32, draft mixed int4/int8"
    assert sum(label["tensors"].values()) == sum(
        size for part in (target, draft) for size in part["tensors"].values()
    )
    assert label["target"] == target
    assert label["draft"] == draft
    assert draft["bits_per_weight"] < label["bits_per_weight"] < 32
    assert label["group_size"] is None
    assert "weight_bytes_per_token" not in label


def test_a_draft_of_another_vocabulary_is_refused(checkpoint, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(checkpoint("tied"), other)
    check_vocabulary(checkpoint("tied"), other)
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(DrawplateError, match="has another tokenizer than its target"):
        check_vocabulary(checkpoint("tied"), other)
    config = json.loads((other / "config.json").read_text()) | {"vocab_size": 600}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(DrawplateError, match=r"has 600 tokens, its target .* 512"):
        check_vocabulary(checkpoint("tied"), other)


def test_a_pair_that_lost_a_file_is_refused(pair, tmp_path):
    folder = tmp_path / "pair"
    shutil.copytree(pair("tied", "tied-int4")[0], folder)
    (folder / "draft" / "model.onnx").unlink()
    with pytest.raises(DrawplateError, match=r"has no draft/model\.onnx: compile the engine again"):
        engines.load("speculative", folder, 1)
