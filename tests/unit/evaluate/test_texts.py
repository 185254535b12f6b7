"""Windows, perplexity and divergence against plain float64 arithmetic."""

import numpy as np
import pytest

from drawplate.errors import DrawplateError
from drawplate.evaluate import kl, perplexity, texts
from drawplate.evaluate.causal_lm import run_texts


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def random_logits(seed, rows=150, vocabulary=33):
    return np.random.default_rng(seed).normal(0, 3, (rows, vocabulary)).astype(np.float32)


def test_windows_are_the_texts_tokens_in_order(text, tokenizer):
    ids = tokenizer(text.read_text(), add_special_tokens=False)["input_ids"]
    cut = texts.cut(text, tokenizer, window_tokens=50)
    assert cut.token_ids.shape == (len(ids) // 50, 50)
    assert cut.token_ids.ravel().tolist() == ids[: cut.token_ids.size]


def test_a_prefix_is_tokenized_like_the_whole_text(text, tokenizer):
    few = texts.cut(text, tokenizer, window_tokens=20, max_windows=3)
    all_of_it = texts.cut(text, tokenizer, window_tokens=20)
    assert (few.token_ids == all_of_it.token_ids[:3]).all()


def test_predicted_bytes_leave_out_each_windows_first_token(tmp_path, tokenizer):
    path = tmp_path / "ascii.txt"
    path.write_text("abcdefghij" * 3)  # a token a byte
    cut = texts.cut(path, tokenizer, window_tokens=10)
    assert cut.predicted_bytes == 27


def test_a_short_text_is_one_short_window(tmp_path, tokenizer):
    path = tmp_path / "short.txt"
    path.write_text("abcde")
    assert texts.cut(path, tokenizer, window_tokens=50).token_ids.shape == (1, 5)
    path.write_text("")
    with pytest.raises(DrawplateError, match="fewer than two tokens"):
        texts.cut(path, tokenizer, window_tokens=50)


def test_unreadable_texts_are_told_in_one_line(tmp_path, tokenizer):
    with pytest.raises(DrawplateError, match="does not exist"):
        texts.cut(tmp_path / "none.txt", tokenizer, 10)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DrawplateError, match="not UTF-8"):
        texts.cut(tmp_path / "latin.txt", tokenizer, 10)


def test_negative_log_likelihood_against_float64():
    logits = random_logits(0)
    targets = np.random.default_rng(1).integers(0, 33, 150)
    expected = -log_softmax(logits)[np.arange(150), targets].sum()
    found = perplexity.negative_log_likelihood(logits, targets)
    assert found == pytest.approx(expected, rel=1e-6)


def test_summary_of_a_text():
    entry = perplexity.summarize([20.0, 30.0], window_tokens=11, predicted_bytes=100)
    assert entry["value"] == pytest.approx(np.exp(2.5))
    assert entry["nll_per_window"] == [2.0, 3.0]
    assert entry["bits_per_byte"] == pytest.approx(50 / np.log(2) / 100)
    assert entry["tokens"] == 20
    assert entry["ci95"][0] < entry["value"] < entry["ci95"][1]


def test_pooled_perplexity_weighs_texts_by_their_tokens():
    pooled = perplexity.pool([([20.0, 20.0], 10), ([90.0], 20)])
    assert pooled["value"] == pytest.approx(np.exp(130 / 40))
    assert pooled["tokens"] == 40


def test_divergence_against_float64():
    base, own = random_logits(2), random_logits(3)
    p, q = log_softmax(base), log_softmax(own)
    found = kl.divergence(base, own)
    assert found.nats == pytest.approx((np.exp(p) * (p - q)).sum(axis=1), rel=1e-9)
    assert found.agreements == (base.argmax(1) == own.argmax(1)).sum()


def test_divergence_of_a_distribution_from_itself_is_zero_even_with_impossible_tokens():
    base = random_logits(4)
    base[:, 7] = -np.inf
    found = kl.divergence(base, base.copy())
    assert not found.nats.any()
    assert kl.summarize([found, found])["top1_agreement"] == 1.0


def test_the_interval_of_a_divergence_has_blocks_as_units():
    generator = np.random.default_rng(8)
    windows = [kl.Divergence(generator.exponential(0.1, size=1023), 1000) for _ in range(4)]
    summary = kl.summarize(windows)
    blocks = np.array([b.mean() for w in windows for b in np.array_split(w.nats, 7)])
    low, high = summary["ci95"]
    assert summary["blocks"] == 28
    assert summary["mean"] == pytest.approx(np.concatenate([w.nats for w in windows]).mean())
    # Student's quantile for 27 degrees of freedom is 2.052.
    assert high - low == pytest.approx(2 * 2.052 * blocks.std(ddof=1) / np.sqrt(28), rel=0.01)


def test_a_small_divergence_is_not_lost_in_rounding():
    base = random_logits(5, rows=64, vocabulary=5000)
    own = base + np.random.default_rng(6).normal(0, 1e-3, base.shape).astype(np.float32)
    # KL is half the variance of the difference under the base's distribution, to second order.
    p = np.exp(log_softmax(base))
    d = own.astype(np.float64) - base
    expected = 0.5 * ((p * d**2).sum(1) - (p * d).sum(1) ** 2).sum()
    assert kl.divergence(base, own).nats.sum() == pytest.approx(expected, rel=0.01)


def test_run_texts_is_what_transformers_calls_the_loss(text, tokenizer, engine, checkpoint):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    found = run_texts(
        engine, tokenizer, {"story": text}, window_tokens=40, windows=3, base=engine, kl_windows=2
    )
    windows = torch.from_numpy(texts.cut(text, tokenizer, 40, 3).token_ids)
    with torch.inference_mode():
        losses = [model(input_ids=w[None], labels=w[None]).loss.item() for w in windows]
    assert found["perplexity"]["story"]["nll_per_window"] == pytest.approx(losses, rel=1e-5)
    assert found["perplexity_all"]["text"] == "story"
    assert found["kl_to_base"]["mean"] == pytest.approx(0, abs=1e-9)
    assert found["kl_to_base"]["positions"] == 2 * 39
