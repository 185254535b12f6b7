"""Retrieval measures by hand and by scikit-learn's definition; sentences whatever the batch."""

import numpy as np
import pytest

from drawplate.evaluate import encoder


class HashEngine:
    """An encoder whose vector depends on the unmasked tokens alone."""

    task = "encoder"

    def embed(self, token_ids, mask):
        table = np.random.default_rng(0).normal(size=(300, 16))
        vectors = (table[token_ids] * mask[..., None]).sum(axis=1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_ranking_measures_by_hand():
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.5, 0.4], [0.3, 0.2, 0.1]], dtype=np.float32)
    relevant = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 1]], dtype=bool)
    found = encoder.ranking_measures(scores, relevant)
    assert found["recall_at_1"].tolist() == [1.0, 0.0, 0.5]
    assert found["mrr_at_10"].tolist() == [1.0, 0.5, 1.0]
    two_of_three = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert found["ndcg_at_10"] == pytest.approx([1.0, 1 / np.log2(3), two_of_three])


def test_what_stands_beyond_the_tenth_place_does_not_count():
    scores = -np.arange(12, dtype=np.float32)[None]
    relevant = np.zeros((1, 12), dtype=bool)
    relevant[0, 10] = True
    found = encoder.ranking_measures(scores, relevant)
    assert found["mrr_at_10"][0] == found["ndcg_at_10"][0] == 0.0


def test_vectors_do_not_depend_on_the_other_sentences(tokenizer, monkeypatch):
    sentences = ["a wire", "a much longer sentence about a wire and a plate", "tin"]
    together = encoder.embed_texts(HashEngine(), tokenizer, sentences, 256, "test")
    monkeypatch.setattr(encoder, "TOKENS_AT_ONCE", 1)
    alone = encoder.embed_texts(HashEngine(), tokenizer, sentences, 256, "test")
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_similarity_is_the_rank_correlation_of_cosines(tokenizer):
    from scipy import stats

    words = ["wire", "wires", "plate", "thin", "thick"]
    rows = [
        {"sentence1": a, "sentence2": b, "score": float(abs(i - j))}
        for i, a in enumerate(words)
        for j, b in enumerate(words)
    ]
    entry, behind = encoder.similarity(HashEngine(), tokenizer, rows, 256)
    expected = stats.spearmanr(behind["values"], behind["gold"]).statistic
    assert entry["accuracy"] == pytest.approx(expected)
    assert entry["ci95"][0] <= expected <= entry["ci95"][1]


def test_a_query_finds_its_own_paragraph(tokenizer):
    texts = ["the wire", "a plate of steel", "bread"]
    corpus = [{"id": str(n), "text": t} for n, t in enumerate(texts)]
    queries = [{"query": t, "relevant": [str(n)]} for n, t in enumerate(texts)]
    entries, values = encoder.retrieval(HashEngine(), tokenizer, queries, corpus, 256)
    assert entries["recall_at_1"]["accuracy"] == 1.0
    assert values["ndcg_at_10"] == {"values": [1.0, 1.0, 1.0]}
