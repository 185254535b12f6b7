"""A served image under rising load, by GuideLLM in an environment of its own.

Each level keeps so many requests in flight for some seconds; prompts are GuideLLM's synthetic texts, all
of one length, answers too. What is told of a level are the requests that were answered within it. An encoder
is sent one text a request, and its answer has one part, so that only the whole of it is timed.
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.build.environment import interpreter
from drawplate.errors import DrawplateError
from drawplate.package.joules import SOURCE, Meter
from drawplate.package.trace import Trace
from drawplate.progress import say

ENVIRONMENT = "guidellm"
PERCENTILES = ("p50", "p95", "p99")
START_S = 120
"""For GuideLLM to begin, beside the seconds of a level."""


def sweep(
    address: str,
    model: str,
    tokenizer: Path,
    config: dict[str, Any],
    cpu_seconds: Callable[[], float | None] = lambda: None,
    trace: Trace | None = None,
    *,
    encoder: bool = False,
) -> list[dict[str, Any]]:
    """Load a server level by level, until its latency target breaks.

    Args:
        address: Of the server.
        model: As it names it.
        tokenizer: Folder whose tokenizer counts the tokens of prompts.
        config: `concurrency` (levels, rising), `warmup_seconds` (before each), `seconds` (of each),
            `prompt_tokens`, `new_tokens` and `first_token_ms` (the target: 95 % of first tokens come sooner, of an encoder's answers).
        cpu_seconds: Processor seconds that the server has used so far; None if that cannot be read.
        trace: Requests whose lengths are taken instead of `prompt_tokens` and `new_tokens`.
        encoder: Whether it is asked for embeddings.

    Returns:
        The levels, see `_level`; the last one is the first that misses the target, if one does.

    Raises:
        DrawplateError: If GuideLLM fails.
    """
    levels: list[dict[str, Any]] = []
    for concurrency in config["concurrency"]:
        before = cpu_seconds()
        with Meter() as meter:
            record = _measure(address, model, tokenizer, config, concurrency, trace, encoder)
        level = _level(concurrency, record, encoder)
        level["energy_j_per_token"] = _energy(level, meter, record)
        after = cpu_seconds()
        # It does nothing before the warm-up and after the level.
        whole_s = record["warmup_duration"] + record["duration"]
        used = None if before is None or after is None else (after - before) / whole_s
        level["cpus"] = None if used is None else round(used, 2)
        first = level["latency_ms" if encoder else "first_token_ms"]
        level["within"] = bool(
            level["failed"] == 0 and first and first["p95"] <= config["first_token_ms"]
        )
        levels.append(level)
        what = "answer" if encoder else "first token"
        told = f"{what} {first['p95']:.0f} ms at p95" if first else "no answer"
        rate = level["input_tokens_per_s" if encoder else "output_tokens_per_s"]
        say(f"{concurrency} at once: {rate:.1f} tokens/s, {told}")
        if not level["within"]:
            break
    return levels


def sustained(levels: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The level within the target that answers most requests a second; None if none is within."""
    within = [level for level in levels if level["within"]]
    return max(within, key=lambda level: level["requests_per_s"], default=None)


def _measure(
    address: str,
    model: str,
    tokenizer: Path,
    config: dict[str, Any],
    concurrency: int,
    trace: Trace | None,
    encoder: bool,
) -> dict[str, Any]:
    """GuideLLM's record of one level."""
    data = f"kind=synthetic_text,prompt_tokens={config['prompt_tokens']}"
    if not encoder:
        data += f",output_tokens={config['new_tokens']}"
    profile = f"kind=concurrent,streams={concurrency}"
    if config["warmup_seconds"]:
        profile += f",warmup={config['warmup_seconds']}"
    seconds = config["warmup_seconds"] + config["seconds"]
    route = ",request_format=/v1/embeddings" if encoder else ""
    with tempfile.TemporaryDirectory(prefix="drawplate-load-") as scratch:
        output = Path(scratch) / "load.json"
        program = interpreter(ENVIRONMENT, Path.cwd()).with_name("guidellm")
        command = [str(program), "run", "--disable-console"]
        command += ["--backend", f"kind=openai_http,target={address},model={model}{route}"]
        command += ["--profile", profile]
        command += ["--constraint", f"kind=max_duration,seconds={seconds}"]
        command += ["--tokenizer", f"kind=huggingface_auto,model={tokenizer.absolute()}"]
        if trace is not None:
            requests = Path(scratch) / "trace.jsonl"
            trace.write(requests)
            source = {"kind": "json_file", "path": str(requests)}
            data = json.dumps({"kind": "trace_synthetic", "source": source})
        command += ["--data", data]
        command += ["--output", f"kind=json,path={output}"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment |= {"no_proxy": "*", "NO_PROXY": "*"}  # the server is on this machine
        environment.pop("PYTHONPATH", None)
        limit_s = START_S + 2 * seconds
        ended = _run(command, environment, scratch, limit_s)
        if ended is None:  # it hangs at times; the server is as it was
            say(f"GuideLLM did not end with {concurrency} at once, it is started once more")
            ended = _run(command, environment, scratch, limit_s)
        if ended is None:
            raise DrawplateError(f"GuideLLM did not end with {concurrency} at once, twice")
        status, errors = ended
        if status or not output.exists():
            said = [line for line in errors.splitlines() if line.strip()] or ["no message"]
            raise DrawplateError(f"GuideLLM failed: {said[-1]}")
        record: dict[str, Any] = read_json(output)["benchmarks"][0]
    return record


def _run(
    command: list[str], environment: dict[str, str], folder: str, limit_s: float
) -> tuple[int, str] | None:
    """Exit status and what it said on standard error; None if it was ended, its workers too, for it did not end."""
    with subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, errors


def _energy(level: dict[str, Any], meter: Meter, record: dict[str, Any]) -> dict[str, Any] | None:
    """Joules for each token of answer, or of an encoder's text; None if they cannot be read.

    The load generator's own share is in them.
    """
    watts = meter.watts(record["start_time"], record["end_time"])
    rate = level["output_tokens_per_s"] or level["input_tokens_per_s"]
    return (
        None if watts is None or not rate else {"value": round(watts / rate, 4), "source": SOURCE}
    )


def _level(concurrency: int, record: dict[str, Any], encoder: bool) -> dict[str, Any]:
    """What is told of a level: counts, rates and percentiles; None where nothing was answered, or nothing is decoded."""
    metrics = record["metrics"]
    totals = metrics["request_totals"]
    answered = totals["successful"]

    def spread(name: str, factor: float = 1.0) -> dict[str, float] | None:
        if not answered:
            return None
        found = metrics[name]["successful"]["percentiles"]
        return {p: round(factor * found[p], 2) for p in PERCENTILES}

    def rate(name: str) -> float:
        return round(metrics[name]["successful"]["mean"] if answered else 0.0, 2)

    return {
        "concurrency": concurrency,
        "seconds": round(record["duration"], 2),
        "requests": answered,
        "failed": totals["errored"],
        "unfinished": totals["incomplete"],
        "requests_per_s": round(answered / record["duration"], 3),
        "input_tokens_per_s": round(rate("prompt_token_count") * answered / record["duration"], 2),
        "output_tokens_per_s": None if encoder else rate("output_tokens_per_second"),
        "first_token_ms": None if encoder else spread("time_to_first_token_ms"),
        "token_ms": None if encoder else spread("inter_token_latency_ms"),
        "latency_ms": spread("request_latency", factor=1000.0),
    }
