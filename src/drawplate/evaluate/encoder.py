"""Measures of a sentence encoder: rank correlation of similarities, and retrieval."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines import Engine
from drawplate.evaluate.harness import batches
from drawplate.evaluate.intervals import bootstrap, mean_bootstrap, spearman
from drawplate.evaluate.rows import Row
from drawplate.progress import progress

TOKENS_AT_ONCE = 4096
CUTOFF = 10
Entries = dict[str, dict[str, Any]]


def embed_texts(
    engine: Engine, tokenizer: Any, texts: list[str], max_tokens: int, what: str
) -> NDArray[np.float32]:
    """Sentence vectors [texts, hidden] of length 1, texts cut at `max_tokens`."""
    encoded = [
        tokenizer(t, truncation=True, max_length=max_tokens, verbose=False)["input_ids"]
        for t in texts
    ]
    vectors: dict[int, NDArray[np.float32]] = {}
    groups = batches([len(ids) for ids in encoded], TOKENS_AT_ONCE)
    for group in progress(groups, what, unit="batches"):
        longest = max(len(encoded[i]) for i in group)
        token_ids = np.full((len(group), longest), tokenizer.pad_token_id or 0, dtype=np.int64)
        mask = np.zeros_like(token_ids)
        for row, index in enumerate(group):
            token_ids[row, : len(encoded[index])] = encoded[index]
            mask[row, : len(encoded[index])] = 1
        vectors.update(zip(group, engine.embed(token_ids, mask), strict=True))
    return np.stack([vectors[i] for i in range(len(texts))])


def similarity(
    engine: Engine, tokenizer: Any, rows: list[Row], max_tokens: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Spearman correlation of cosine similarity with the human score.

    Returns:
        The task's entry (`accuracy` is the correlation, `measure` says so), and the rows
        behind it: `values` (cosines) and `gold`.
    """
    texts = [row[side] for side in ("sentence1", "sentence2") for row in rows]
    vectors = embed_texts(engine, tokenizer, texts, max_tokens, "similarity")
    cosines = (vectors[: len(rows)] * vectors[len(rows) :]).sum(axis=1).astype(np.float64)
    gold = np.array([row["score"] for row in rows], dtype=np.float64)
    entry = {
        "measure": "spearman",
        "accuracy": spearman(cosines, gold),
        "accuracy_norm": None,
        "ci95": bootstrap(lambda i: spearman(cosines[i], gold[i]), len(rows)),
        "examples": len(rows),
    }
    return entry, {"values": cosines.tolist(), "gold": gold.tolist()}


def retrieval(
    engine: Engine, tokenizer: Any, queries: list[Row], corpus: list[Row], max_tokens: int
) -> tuple[Entries, dict[str, dict[str, Any]]]:
    """Rank the whole corpus by cosine for every query.

    Returns:
        Entries named `ndcg_at_10`, `mrr_at_10` and `recall_at_1`, and for each the value of
        every query.
    """
    texts = [row["query"] for row in queries] + [row["text"] for row in corpus]
    vectors = embed_texts(engine, tokenizer, texts, max_tokens, "retrieval")
    scores = vectors[: len(queries)] @ vectors[len(queries) :].T
    ids = np.array([row["id"] for row in corpus])
    relevant = np.stack([np.isin(ids, row["relevant"]) for row in queries])
    measures = ranking_measures(scores, relevant)
    entries = {
        name: {
            "measure": name,
            "accuracy": float(values.mean()),
            "accuracy_norm": None,
            "ci95": mean_bootstrap(values),
            "examples": len(queries),
        }
        for name, values in measures.items()
    }
    return entries, {name: {"values": v.tolist()} for name, v in measures.items()}


def ranking_measures(
    scores: NDArray[np.float32], relevant: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """nDCG@10 (Järvelin and Kekäläinen, 2002, binary gains), MRR@10 and recall at 1.

    Args:
        scores: Similarity of each query with each paragraph [queries, corpus].
        relevant: Which paragraphs answer the query, same shape.

    Returns:
        For each measure the value of every query [queries].
    """
    cutoff = min(CUTOFF, scores.shape[1])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :cutoff]
    hits = np.take_along_axis(relevant, order, axis=1)
    discounts = 1 / np.log2(np.arange(2, cutoff + 2))
    possible = np.minimum(relevant.sum(axis=1), cutoff)
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[possible]
    gained = (hits * discounts).sum(axis=1)
    first = hits.argmax(axis=1)
    return {
        "ndcg_at_10": np.divide(gained, ideal, out=np.zeros_like(gained), where=ideal > 0),
        "mrr_at_10": np.where(hits.any(axis=1), 1 / (first + 1), 0.0),
        "recall_at_1": hits[:, 0] / np.maximum(relevant.sum(axis=1), 1),
    }
