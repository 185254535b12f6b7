"""`drawplate generate`: the greedy answer of any checkpoint or engine."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from drawplate.build.hardware import cores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("artifact", type=Path, help="folder of a checkpoint or engine")
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="what to continue")
    parser.add_argument(
        "--chat", action="store_true", help="put the prompt into the model's chat template"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=128, metavar="N", help="longest answer (128)"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="threads to use")


def run(arguments: argparse.Namespace) -> int:
    """Print the answer, and nothing else, on standard output."""
    import numpy as np

    from drawplate.engines.open import check_intact, context_tokens, open_artifact
    from drawplate.engines.tokenizer import prompt_ids, stop_ids
    from drawplate.errors import DrawplateError

    if arguments.max_new_tokens < 1:
        raise DrawplateError("--max-new-tokens is too small", "give 1 or more")
    if arguments.threads < 1:
        raise DrawplateError("--threads is too small", "give 1 or more")
    check_intact(arguments.artifact)
    with _only_the_answer_on_stdout():
        engine, tokenizer, reference = open_artifact(arguments.artifact, arguments.threads)
        if engine.task != "causal-lm":
            raise DrawplateError(
                f"{reference['name']} is a sentence encoder", "give a language model"
            )
        prompt = prompt_ids(tokenizer, arguments.prompt, arguments.chat)
        longest = context_tokens(arguments.artifact)
        if longest is not None and len(prompt) + arguments.max_new_tokens > longest:
            raise DrawplateError(
                f"{len(prompt)} tokens of prompt and {arguments.max_new_tokens} new ones are more "
                f"than the {longest} that {reference['name']} takes",
                f"write --max-new-tokens {longest - len(prompt)} or less"
                if len(prompt) < longest
                else "shorten the prompt",
            )
        stop = stop_ids(arguments.artifact, tokenizer)
        new = engine.generate(
            np.array([prompt], dtype=np.int64), arguments.max_new_tokens, stop_ids=stop
        )[0]
    ends = np.flatnonzero(np.isin(new, stop))
    answer = new[: ends[0]] if len(ends) else new
    print(tokenizer.decode(answer.tolist(), skip_special_tokens=True))
    return 0


@contextlib.contextmanager
def _only_the_answer_on_stdout() -> Iterator[None]:
    """Send what runtimes print on file descriptor 1 to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
