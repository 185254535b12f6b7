"""Task files, and scores against the harness's own Hugging Face model."""

import types

import numpy as np
import pytest

from drawplate.errors import DrawplateError
from drawplate.evaluate import harness
from drawplate.evaluate.rows import read_rows
from drawplate.evaluate.tasks import run_tasks

CHOICES = [
    {"id": "1", "context": "The wire is", "choices": ["thin", "thick in the end"], "label": 0},
    {"id": "2", "context": "A plate of steel ", "choices": ["holes", "bread", "é"], "label": 2},
    {"id": "3", "context": "Pull", "choices": ["it", "the wire"], "label": 1},
]
PAIRS = [
    {"context": "", "choices": ["The wire is thin.", "The wire are thin."], "label": 0},
    {"context": "", "choices": ["He pull.", "He pulls."], "label": 1},
]
ENDS = [{"context": "In the beginning the", "target": "wire"}]


@pytest.fixture(scope="module")
def hugging_face(checkpoint):
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(checkpoint), device="cpu", batch_size=1)


def arguments():
    cases = [(r["context"], " " + c) for r in CHOICES for c in r["choices"]]
    cases += [("", c) for r in PAIRS for c in r["choices"]]
    return cases + [(r["context"], " " + r["target"]) for r in ENDS]


def test_log_likelihoods_are_those_of_the_harness(engine, tokenizer, hugging_face):
    from lm_eval.api.instance import Instance

    instances = [
        Instance(request_type="loglikelihood", doc={}, arguments=args, idx=0)
        for args in arguments()
    ]
    ours = harness.EngineScorer(engine, tokenizer, None, "test").loglikelihood(instances)
    theirs = hugging_face.loglikelihood(instances, disable_tqdm=True)
    assert [v for v, _ in ours] == pytest.approx([v for v, _ in theirs], abs=1e-3)
    assert [g for _, g in ours] == [g for _, g in theirs]


def test_results_do_not_depend_on_batching(engine, tokenizer, monkeypatch):
    instances = [types.SimpleNamespace(args=args) for args in arguments()]
    scorer = harness.EngineScorer(engine, tokenizer, None, "test")
    together = scorer.loglikelihood(instances)
    monkeypatch.setattr(harness, "LOGIT_BYTES_AT_ONCE", 1)
    alone = scorer.loglikelihood(instances)
    assert [v for v, _ in together] == pytest.approx([v for v, _ in alone], abs=1e-4)


def test_continuation_score_against_float64():
    logits = np.random.default_rng(0).normal(0, 4, (3, 50)).astype(np.float32)
    best = logits.argmax(axis=1)
    chances = np.exp(logits.astype(np.float64))
    chances /= chances.sum(axis=1, keepdims=True)
    value, greedy = harness.continuation_score(logits, best)
    assert value == pytest.approx(np.log(chances.max(axis=1)).sum())
    assert greedy
    assert not harness.continuation_score(logits, (best + 1) % 50)[1]


def test_long_contexts_lose_their_beginning(tokenizer):
    request = harness.encode(tokenizer, "a" * 50, " b", context_tokens=10)
    assert len(request.fed) == 10
    assert len(request.targets) == 2


@pytest.mark.parametrize(
    ("context", "continuation", "context_tokens", "message"),
    [
        ("a", " " + "b" * 30, 10, "is 31 tokens, 10 can be fed"),
        ("a", "b" * 11, 10, "is 11 tokens, 10 can be fed"),
        ("a", "", None, "is 0 tokens"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    tokenizer, context, continuation, context_tokens, message
):
    with pytest.raises(DrawplateError, match=message):
        harness.encode(tokenizer, context, continuation, context_tokens)


def test_a_context_of_no_known_sign_is_an_empty_one():
    class Letters:
        """Knows lower-case letters alone."""

        bos_token_id, eos_token_id = None, 7

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [ord(c) for c in text if "a" <= c <= "z"]}

    tokenizer = Letters()
    request = harness.encode(tokenizer, "?", " ab")
    assert request == harness.Request([7, ord("a")], [ord("a"), ord("b")])
    tokenizer.eos_token_id = None
    with pytest.raises(DrawplateError, match="no begin or end token"):
        harness.encode(tokenizer, "", "ab")


def test_batches_hold_every_request_once_and_stay_small():
    lengths = [5, 90, 7, 30, 31, 6, 200]
    groups = harness.batches(lengths, 100)
    assert sorted(i for group in groups for i in group) == list(range(7))
    for group in groups:
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or len(group) * longest <= 100
        assert min(lengths[i] for i in group) >= 7 / 8 * longest


def test_a_request_that_begins_another_is_read_off_that_one():
    fed = [[1, 2, 3], [1], [1, 2, 4], [2, 1], [1, 2], [1, 2, 3], [2]]
    sequences = harness.shared_sequences([harness.Request(ids, ids) for ids in fed])
    assert sorted(ids for ids, _ in sequences) == [[1, 2, 3], [1, 2, 4], [2, 1]]
    assert sorted(i for _, served in sequences for i in served) == list(range(7))
    for ids, served in sequences:
        assert all(ids[: len(fed[i])] == fed[i] for i in served)


def test_scores_follow_from_log_likelihoods(engine, tokenizer, write_rows):
    tasks = {
        "choices": read_rows(write_rows("choices.jsonl", CHOICES)),
        "pairs": read_rows(write_rows("pairs.jsonl", PAIRS)),
        "ends": read_rows(write_rows("ends.jsonl", ENDS)),
    }
    found = run_tasks(engine, tokenizer, tasks)

    def log_likelihood(context, continuation):
        request = harness.encode(tokenizer, context, continuation)
        (logits,) = harness.run(engine, [request.fed])
        return harness.score(logits, request)[0]

    for number, row in enumerate(CHOICES):
        sums = [log_likelihood(row["context"], " " + c) for c in row["choices"]]
        norms = [s / len(c.encode()) for s, c in zip(sums, row["choices"], strict=True)]
        assert found["choices"]["correct"][number] == (np.argmax(sums) == row["label"])
        assert found["choices"]["correct_norm"][number] == (np.argmax(norms) == row["label"])
    for number, row in enumerate(PAIRS):
        sums = [log_likelihood("", c) for c in row["choices"]]
        assert found["pairs"]["correct"][number] == (np.argmax(sums) == row["label"])
    target = log_likelihood(ENDS[0]["context"], " wire")
    assert found["ends"]["target_perplexity"] == pytest.approx(np.exp(-target), rel=1e-4)
    assert found["ends"]["accuracy_norm"] is None
    assert found["choices"]["examples"] == 3


def test_the_first_rows_are_taken(write_rows):
    form, rows = read_rows(write_rows("choices.jsonl", CHOICES), 2)
    assert form == "multiple_choice"
    assert [row["id"] for row in rows] == ["1", "2"]


def test_a_line_separator_inside_a_string_is_no_new_row(write_rows):
    row = {"context": "one\u2028two", "target": "three"}
    assert read_rows(write_rows("ends.jsonl", [row, row]))[1] == [row, row]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no rows"),
        ([{"prompt": "?"}], "no known form"),
        ([["a"]], ":1 is not an object"),
        ([ENDS[0], {"context": "only"}], ":2 has no usable 'target'"),
        ([CHOICES[0] | {"label": 2}], "names no choice"),
        ([CHOICES[0] | {"choices": ["one", " "]}], "two or more choices"),
        ([ENDS[0] | {"target": " "}], "blank target"),
        ([CHOICES[0] | {"choices": ["one"]}], "two or more choices"),
        ([CHOICES[0], PAIRS[0]], "mixes rows"),
    ],
)
def test_wrong_task_files_are_told_in_one_line(write_rows, rows, message):
    with pytest.raises(DrawplateError, match=message):
        read_rows(write_rows("task.jsonl", rows))


def test_what_is_not_json_is_told_with_its_line(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_text('{"context": "a", "target": "b"}\n\n{"context"\n')
    with pytest.raises(DrawplateError, match=r"task\.jsonl:3 is not JSON"):
        read_rows(path)
    with pytest.raises(DrawplateError, match="does not exist"):
        read_rows(tmp_path / "none.jsonl")


def test_an_encoders_task_is_refused_for_a_language_model(engine, tokenizer):
    rows = [{"sentence1": "a", "sentence2": "b", "score": 1.0}]
    with pytest.raises(DrawplateError, match="cannot be scored"):
        run_tasks(engine, tokenizer, {"sts": ("similarity", rows)})


def test_half_a_surrogate_pair_is_no_text(tmp_path):
    path = tmp_path / "ends.jsonl"
    path.write_text('{"context": "\\ud800", "target": "wire"}\n')
    with pytest.raises(DrawplateError, match=r"ends.jsonl:1 has half of a surrogate pair"):
        read_rows(path)
    path.write_text("[" * 100_000)
    with pytest.raises(DrawplateError, match="nested too deeply"):
        read_rows(path)
