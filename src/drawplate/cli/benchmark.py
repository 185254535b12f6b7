"""`drawplate benchmark`: speed, memory and energy of engines, in turns if several."""

import argparse
from pathlib import Path
from typing import Any

from drawplate.build.hardware import cores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT", help="engine folder")
    parser.add_argument(
        "--prompt-tokens",
        type=int,
        default=512,
        metavar="N",
        help="prompt of the prefill runs (512); decode runs use at most 128 of it",
    )
    parser.add_argument(
        "--new-tokens", type=int, default=64, metavar="N", help="tokens of a decode run (64)"
    )
    parser.add_argument(
        "--batch", type=int, default=8, metavar="N", help="batch measured besides 1 (8)"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (5)")
    parser.add_argument(
        "--text",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="UTF-8 texts to take the prompts from, instead of random tokens: needed to time an "
        "engine that decodes speculatively",
    )
    parser.add_argument("--threads", type=int, default=cores(), help="threads to use")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file to write")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the list of performances and print a line for each engine."""
    from drawplate.artifacts.files import write_json
    from drawplate.benchmark.lock import alone
    from drawplate.benchmark.machine import read_bandwidth
    from drawplate.benchmark.measure import Plan
    from drawplate.benchmark.passages import read_passages
    from drawplate.benchmark.performance import benchmark, ratios
    from drawplate.engines.open import check_intact, describe
    from drawplate.errors import DrawplateError
    from drawplate.progress import say

    for name, least in (("prompt_tokens", 1), ("new_tokens", 2), ("batch", 1), ("repeats", 1)):
        if getattr(arguments, name) < least:
            option = "--" + name.replace("_", "-")
            raise DrawplateError(f"{option} is too small", f"give {least} or more")
    for folder in arguments.artifacts:
        artifact = describe(folder)
        check_intact(folder)
        if not artifact.is_engine:
            say(f"{folder} is a checkpoint: it runs in plain transformers, which takes minutes")
        if "draft" in artifact.label() and not arguments.text:
            say(f"{folder} drafts: on random tokens hardly anything is accepted, give --text FILE")
    plan = Plan(
        prompt_tokens=arguments.prompt_tokens,
        decode_prompt_tokens=min(128, arguments.prompt_tokens),
        new_tokens=arguments.new_tokens,
        batch=arguments.batch,
        repeats=arguments.repeats,
        batch_repeats=min(3, arguments.repeats),
    )
    passages = None
    if arguments.text:
        passages = read_passages(arguments.text, arguments.artifacts[0], plan.prompt_tokens)
    with alone():
        bandwidth = read_bandwidth(arguments.threads)["median"]
    performances, samples = benchmark(
        arguments.artifacts, plan, arguments.threads, bandwidth, passages
    )
    for performance, own in zip(performances[1:], samples[1:], strict=True):
        performance["ratio_to_first"] = ratios(own, samples[0])
    write_json(arguments.json, performances)
    for folder, performance in zip(arguments.artifacts, performances, strict=True):
        print(f"{folder}: {summary(performance)}")
    return 0


def summary(performance: dict[str, Any]) -> str:
    """Speed at batch 1 in words, with its ratio to the first engine's in the same rounds."""
    first = performance["batch_1"]
    name = "decode" if first["decode_tokens_per_s"] else "prefill"
    rate = first[f"{name}_tokens_per_s"]
    words = (
        f"{name} {rate['median']:.1f} tokens/s at batch 1 "
        f"({rate['min']:.1f} to {rate['max']:.1f}, {rate['repeats']} rounds)"
    )
    if "ratio_to_first" in performance:
        ratio = performance["ratio_to_first"]["batch_1"][f"{name}_tokens_per_s"]
        words += (
            f", {ratio['median']:.2f} times the first ({ratio['min']:.2f} to {ratio['max']:.2f})"
        )
    if accepted := performance["acceptance_rate"]:
        words += f", {100 * accepted['median']:.0f} % of drafts accepted"
    return words
