"""What is measured of a pair: real text, acceptance, and the bytes that a token reads."""

import numpy as np
import pytest
from tests.tiny import sentences, write_model

from drawplate.benchmark import measure
from drawplate.benchmark.acceptance import SHARES, bytes_per_token, shares
from drawplate.benchmark.measure import Plan, spread
from drawplate.benchmark.passages import choose, read_passages
from drawplate.engines.open import Artifact
from drawplate.errors import DrawplateError

COUNTS = {"evaluated": 24, "accepted": 18, "kept": 30, "target_passes": 12, "draft_passes": 36}


def test_shares_of_known_counts():
    assert shares(COUNTS) == {
        "acceptance_rate": 0.75,
        "tokens_per_target_pass": 2.5,
        "target_passes_per_token": 0.4,
        "draft_passes_per_token": 1.2,
    }
    assert set(shares(COUNTS)) == set(SHARES)
    assert shares(None) == {}
    assert shares({**COUNTS, "evaluated": 0}) == {}


def artifact(tmp_path, label):
    return Artifact(tmp_path, "speculative", "x", "0", True, {"format": label, "files": []})


def test_a_token_of_a_pair_reads_both_models_for_each_pass(tmp_path):
    pair = {
        part: {"weight_bytes_per_token": size} for part, size in (("target", 500), ("draft", 100))
    }
    measured = {name: spread([value]) for name, value in shares(COUNTS).items()}
    assert bytes_per_token(artifact(tmp_path, pair), measured) == pytest.approx(
        0.4 * 500 + 1.2 * 100
    )
    nothing = dict.fromkeys(SHARES)
    assert bytes_per_token(artifact(tmp_path, pair), nothing) is None
    single = {"weight_bytes_per_token": 500}
    assert bytes_per_token(artifact(tmp_path, single), nothing) == 500


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("passages") / "model"
    write_model(folder, layers=1)
    return folder


def test_passages_are_the_texts_own_and_the_same_for_the_same_seed(model, tmp_path):
    text, short = tmp_path / "text.txt", tmp_path / "short.txt"
    text.write_text(" ".join(sentences(200, 1)))
    short.write_text("The river ran.")
    passages = read_passages([text, short], model, 24)
    assert passages.shape == (32, 24)
    chosen = choose(passages, 5, 3, 16)
    np.testing.assert_array_equal(chosen, choose(passages, 5, 3, 16))
    assert len({row.tobytes() for row in chosen}) == 3
    known = {row[:16].tobytes() for row in passages}
    assert all(row.tobytes() in known for row in chosen)
    assert (choose(passages, 6, 3, 16) != chosen).any()
    assert choose(passages[:2], 5, 8, 16).shape == (8, 16)
    with pytest.raises(DrawplateError, match="no text has the 99 tokens"):
        read_passages([short], model, 99)
    with pytest.raises(DrawplateError, match="no text has the 99 tokens"):
        read_passages([], model, 99)


class Pair:
    """A worker that answers at once, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def ask(self, do, **arguments):
        self.asked.append(arguments)
        return {"first_token_s": 0.5, "decode_s": 2.0, "joules": None, "acceptance": COUNTS}


def test_a_round_prompts_with_passages_and_keeps_what_was_accepted():
    passages = np.arange(4 * 512).reshape(4, 512)
    worker = Pair()
    taken = measure._round(worker, "causal-lm", Plan(), 1, 3, passages)
    assert taken["acceptance_rate"] == 0.75
    assert taken["decode_tokens_per_s"] == 63 / 2.0
    decode, prefill = (np.array(a["prompt"]) for a in worker.asked)
    assert decode.shape == (1, 128)
    assert prefill.shape == (1, 512)
    assert any((decode[0] == row[:128]).all() for row in passages)
    measure._round(worker, "causal-lm", Plan(), 1, 3)
    assert worker.asked[-1]["prompt"] is None
