"""One pass of a language model over texts: perplexity and divergence from the base together."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import sha256_file
from drawplate.engines import Engine
from drawplate.evaluate import kl, perplexity, texts
from drawplate.progress import progress


def run_texts(
    engine: Engine,
    tokenizer: Any,
    paths: dict[str, Path],
    *,
    window_tokens: int,
    windows: int | None,
    base: Engine | None = None,
    kl_windows: int = 0,
    what: str = "perplexity",
) -> dict[str, Any]:
    """Perplexity of each text and of all, and KL(base || engine) on the first windows of each.

    The engine runs once over every window, the base over the first `kl_windows` of each text;
    only one window's logits of each are in memory.

    Args:
        engine: A loaded causal language model.
        tokenizer: Its tokenizer, which the base shares.
        paths: Texts by name.
        window_tokens: Tokens of a window.
        windows: Windows of each text; None for all.
        base: What to measure the divergence from, or None.
        kl_windows: Windows of each text that it is measured on.
        what: Begins the progress lines.

    Returns:
        `perplexity` by name, `perplexity_all` (None without texts), `kl_to_base` or None.
    """
    cuts = {n: texts.cut(p, tokenizer, window_tokens, windows) for n, p in paths.items()}
    work = [(name, row) for name, cut in cuts.items() for row in range(len(cut.token_ids))]
    nats: dict[str, list[float]] = {name: [] for name in cuts}
    divergences: list[kl.Divergence] = []
    for name, row in progress(work, what, unit="windows"):
        token_ids = cuts[name].token_ids[row]
        fed = token_ids[None, :-1]
        logits = engine.logits(fed)[0]
        nats[name].append(perplexity.negative_log_likelihood(logits, token_ids[1:]))
        if base is not None and row < kl_windows:
            divergences.append(kl.divergence(base.logits(fed)[0], logits))
    sizes = {name: cut.token_ids.shape[1] for name, cut in cuts.items()}
    pooled = [(nats[name], sizes[name] - 1) for name in cuts]
    return {
        "perplexity": {
            name: perplexity.summarize(nats[name], sizes[name], cut.predicted_bytes)
            for name, cut in cuts.items()
        },
        "perplexity_all": {**perplexity.pool(pooled), "text": "+".join(cuts)} if cuts else None,
        "kl_to_base": kl.summarize(divergences) if divergences else None,
    }


def digests(paths: dict[str, Path]) -> dict[str, str]:
    """SHA-256 of each file, so that two evaluations can be known to be of the same rows."""
    return {name: sha256_file(path) for name, path in paths.items()}
