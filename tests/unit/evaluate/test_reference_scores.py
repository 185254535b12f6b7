"""The real models on real rows give the scores published beside the data.

`../shared/data/README.md` gives scores that another program measured. At its full sizes this
evaluator gave them again (perplexity 23.49 and 33.68; arc_easy .420/.435, piqa .665/.595,
commonsenseqa .350/.375, blimp .757, lambada .270 and 60.2; Spearman .910, nDCG@10 .936, MRR@10
.920, R@1 .877). The values below are of the first rows of those runs, so that the test takes
seconds; a row or two may flip with another version's rounding.
"""

from pathlib import Path

import pytest
import yaml

from drawplate.engines.open import open_artifact
from drawplate.evaluate import encoder
from drawplate.evaluate.artifact import Limits, evaluate
from drawplate.evaluate.rows import read_rows
from drawplate.sources.base import make_base

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.real_model,
    pytest.mark.skipif(not DATA.is_dir(), reason="the reference rows of ../shared/data are absent"),
]

FLIPS = 1
FIRST_40 = {  # right by sum, right by sum over bytes
    "arc_easy": (17, 15),
    "piqa": (27, 22),
    "commonsenseqa": (15, 15),
    "lambada": (6, None),
}
FIRST_2_WINDOWS = {
    "en_wikitext2_test_raw": [2.6451, 3.3753],
    "en_fiction_northanger": [3.6476, 3.9242],
}


def base(name, folder):
    config = yaml.safe_load((ROOT / "conf" / "base" / f"{name}.yaml").read_text())
    folder.mkdir()
    make_base(config, folder)
    return folder


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    return base("smollm2", tmp_path_factory.mktemp("real") / "smollm2")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    return base("minilm", tmp_path_factory.mktemp("real") / "minilm")


def test_perplexity_of_the_first_windows(smollm2):
    texts = {name: DATA / "eval_text" / f"{name}.txt" for name in FIRST_2_WINDOWS}
    found = evaluate(smollm2, texts, {}, Limits(windows=2), 2)["perplexity"]
    for name, expected in FIRST_2_WINDOWS.items():
        assert found[name]["nll_per_window"] == pytest.approx(expected, abs=2e-3)


def test_tasks_of_the_first_rows(smollm2):
    tasks = {name: DATA / "tasks" / f"{name}.jsonl" for name in FIRST_40}
    found = evaluate(smollm2, {}, tasks, Limits(task_rows=40), 2)["tasks"]
    for name, (plain, by_bytes) in FIRST_40.items():
        assert abs(sum(found[name]["correct"]) - plain) <= FLIPS
        if by_bytes is not None:
            assert abs(sum(found[name]["correct_norm"]) - by_bytes) <= FLIPS


def test_minimal_pairs_without_context(smollm2):
    tasks = {"blimp": DATA / "tasks" / "blimp.jsonl"}
    found = evaluate(smollm2, {}, tasks, Limits(task_rows=300), 2)["tasks"]["blimp"]
    assert found["accuracy"] == pytest.approx(0.757, abs=0.007)


def test_sentence_encoder(minilm):
    engine, tokenizer, _ = open_artifact(minilm, 2)
    rows = read_rows(DATA / "embed" / "sts_image_snli.jsonl")[1]
    assert encoder.similarity(engine, tokenizer, rows, 256)[0]["accuracy"] == pytest.approx(
        0.910, abs=0.001
    )
    corpus = read_rows(DATA / "embed" / "retrieval_boolq_corpus.jsonl", 200)[1]
    kept = {row["id"] for row in corpus}
    queries = [
        row
        for row in read_rows(DATA / "embed" / "retrieval_boolq_queries.jsonl")[1]
        if set(row["relevant"]) <= kept
    ]
    found = encoder.retrieval(engine, tokenizer, queries, corpus, 256)[0]
    assert found["ndcg_at_10"]["accuracy"] == pytest.approx(0.9783, abs=0.003)
    assert found["mrr_at_10"]["accuracy"] == pytest.approx(0.9713, abs=0.003)
    assert found["recall_at_1"]["accuracy"] == pytest.approx(0.955, abs=0.006)
