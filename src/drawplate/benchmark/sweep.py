"""One engine at many batch sizes: speed, energy and memory of each."""

from pathlib import Path
from typing import Any

from drawplate.benchmark.client import loaded_workers
from drawplate.benchmark.lock import alone
from drawplate.benchmark.measure import spread
from drawplate.benchmark.performance import energy
from drawplate.engines.open import context_tokens
from drawplate.errors import DrawplateError
from drawplate.progress import progress

SEED = 17


def sweep(engine: Path, config: dict[str, Any], threads: int) -> dict[str, Any]:
    """Time an engine alone on the machine, its batch sizes in turns.

    Args:
        engine: Its folder.
        config: `batches`, `prompt_tokens`, `new_tokens`, `repeats`.
        threads: That the engine may use.

    Returns:
        For each batch `batch_N` with `decode_tokens_per_s` and `prefill_tokens_per_s` (of the whole batch;
        the former None for an encoder), `energy_j_per_token` (of a generated token; None where it cannot be
        read) and `peak_bytes`: the process's peak once that batch had run for the first time.

    Raises:
        DrawplateError: If the engine does not load, or cannot take the prompt.
    """
    longest = context_tokens(engine)
    if longest is not None and longest < config["prompt_tokens"] + config["new_tokens"]:
        raise DrawplateError(
            f"{engine} takes {longest} tokens, the sweep needs "
            f"{config['prompt_tokens'] + config['new_tokens']}",
            "lower sweep.prompt_tokens or sweep.new_tokens",
        )
    samples: dict[int, dict[str, list[float]]] = {batch: {} for batch in config["batches"]}
    peaks: dict[int, float] = {}
    source = "rapl"
    with alone(), loaded_workers({"engine": engine}, threads) as workers:
        worker, about = workers["engine"]
        turns = [(n, batch) for n in range(config["repeats"] + 1) for batch in config["batches"]]
        for number, batch in progress(turns, "sweep of batch sizes", unit="runs"):
            taken = _run(worker, about["task"], config, batch, seed=SEED + number)
            if number:
                for name, value in taken.items():
                    samples[batch].setdefault(name, []).append(value)
                continue
            # The first round warms up, and goes from small to large: each peak is its batch's own.
            memory = worker.ask("memory")
            source = "nvml" if memory.get("on_gpu") else "rapl"
            peaks[batch] = memory.get("peak_gpu_bytes") or memory["peak_rss_bytes"]
    return {
        f"batch_{batch}": {
            "decode_tokens_per_s": spread(found.get("decode_tokens_per_s")),
            "prefill_tokens_per_s": spread(found.get("prefill_tokens_per_s")),
            "energy_j_per_token": energy(found.get("energy_j_per_token"), source),
            "peak_bytes": peaks[batch],
        }
        for batch, found in samples.items()
    }


def _run(worker: Any, task: str, config: dict[str, Any], batch: int, seed: int) -> dict[str, float]:
    """One batch once: rates in tokens a second of the whole batch, energy of a generated token."""
    prompt, new = config["prompt_tokens"], config["new_tokens"]
    what = {"seed": seed, "batch": batch, "prompt_tokens": prompt}
    if task == "encoder":
        return {"prefill_tokens_per_s": batch * prompt / worker.ask("embed", **what)["embed_s"]}
    answer = worker.ask("generate", **what, new_tokens=new)
    generated = batch * (new - 1)
    taken = {
        "decode_tokens_per_s": generated / answer["decode_s"],
        "prefill_tokens_per_s": batch * prompt / answer["first_token_s"],
    }
    if answer["joules"] is not None:
        taken["energy_j_per_token"] = answer["joules"] / generated
    return taken
