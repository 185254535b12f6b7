"""Quantize a random checkpoint larger than memory, under a limit set by the kernel.

    python scripts/large_model.py make big                       # 3.2 billion parameters, 6.4 GB
    python scripts/large_model.py quantize big big.int4 --limit-gib 4

The second command prints one JSON line: the limit, who set it, the peak, the time. Whatever a killed
run finished is kept beside the output, and the same command goes on from there.
"""

import argparse
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import finished_folder, write_json
from drawplate.checkpoint.files import write_shards
from drawplate.progress import progress, say
from drawplate.quantize.step import quantize_checkpoint

GIB = 2**30
CGROUPS = Path("/sys/fs/cgroup")
LIMIT_FILES = (("memory/{}/memory.limit_in_bytes", "memory/{}/cgroup.procs"),
               ("{}/memory.max", "{}/cgroup.procs"))  # fmt: skip


def make(folder: Path, shape: dict[str, int], seed: int) -> None:
    """Write a random Llama in bfloat16 with a tokenizer of bytes and calibration text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig

    config = LlamaConfig(**shape, tie_word_embeddings=True, dtype="bfloat16")
    config.architectures = ["LlamaForCausalLM"]
    generator = torch.Generator().manual_seed(seed)

    def random(*size: int) -> Tensor:
        return (torch.randn(size, generator=generator) * size[-1] ** -0.5).to(torch.bfloat16)

    def tensors() -> Iterator[tuple[str, Tensor]]:
        hidden, channels = config.hidden_size, config.intermediate_size
        head_dim, kv_heads = config.head_dim, config.num_key_value_heads
        yield "model.embed_tokens.weight", random(config.vocab_size, hidden)
        yield "model.norm.weight", torch.ones(hidden, dtype=torch.bfloat16)
        for index in progress(range(config.num_hidden_layers), "make", unit="layers"):
            prefix = f"model.layers.{index}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                yield f"{prefix}{norm}.weight", torch.ones(hidden, dtype=torch.bfloat16)
            rows = {"q": hidden, "k": kv_heads * head_dim, "v": kv_heads * head_dim, "o": hidden}
            for name, count in rows.items():
                yield f"{prefix}self_attn.{name}_proj.weight", random(count, hidden)
            for name in ("gate", "up"):
                yield f"{prefix}mlp.{name}_proj.weight", random(channels, hidden)
            yield f"{prefix}mlp.down_proj.weight", random(hidden, channels)

    with finished_folder(folder) as scratch:
        write_shards(scratch, tensors())
        write_json(scratch / "config.json", config.to_diff_dict())
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE(vocab={a: i for i, a in enumerate(letters)}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.save(str(scratch / "tokenizer.json"))
        (scratch / "texts").mkdir()
        bytes_ = torch.randint(97, 123, (200, 400), generator=generator).tolist()
        rows_ = (
            json.dumps({"id": str(i), "text": bytes(b).decode()}) for i, b in enumerate(bytes_)
        )
        (scratch / "texts" / "calibration.jsonl").write_text("".join(f"{row}\n" for row in rows_))


def limited(command: list[str], limit_bytes: int, by: str) -> dict[str, Any]:
    """Run a command whose memory the kernel limits.

    Args:
        command: What to run.
        limit_bytes: The limit.
        by: `cgroup` (resident memory and page cache) or `rlimit` (private writable memory, which
            needs no rights).

    Returns:
        `returncode`, `seconds`, `peak_rss_bytes` of the command.
    """
    group = f"drawplate-{os.getpid()}"
    procs: Path | None = None
    if by == "cgroup":
        version = 0 if (CGROUPS / "memory").is_dir() else 1
        limit_file, procs_file = (CGROUPS / name.format(group) for name in LIMIT_FILES[version])
        limit_file.parent.mkdir()
        limit_file.write_text(str(limit_bytes))
        procs = procs_file

    def enter() -> None:
        if procs:
            procs.write_text(str(os.getpid()))
        else:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))

    started = time.monotonic()
    child = subprocess.Popen(command, preexec_fn=enter)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - started
    if procs:
        procs.parent.rmdir()
    return {
        "returncode": os.waitstatus_to_exitcode(status),
        "seconds": round(seconds, 1),
        "peak_rss_bytes": usage.ru_maxrss * 1024,
    }


def main() -> None:
    """Read the arguments and do as they say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write a random checkpoint")
    making.add_argument("folder", type=Path)
    sizes = {
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    }
    for name, size in sizes.items():
        making.add_argument(f"--{name.replace('_', '-')}", type=int, default=size)
    making.add_argument("--seed", type=int, default=0)
    for name in ("quantize", "work"):
        working = commands.add_parser(name, help="quantize it under a limit" * (name != "work"))
        working.add_argument("folder", type=Path)
        working.add_argument("output", type=Path)
        working.add_argument("--windows", type=int, default=8)
        working.add_argument("--window-tokens", type=int, default=512)
        working.add_argument("--bits-per-weight", type=float, help="a budget; else 4 bits for all")
        working.add_argument("--threads", type=int, default=os.cpu_count())
        if name == "quantize":
            working.add_argument("--limit-gib", type=float, default=4.0)
            working.add_argument("--by", choices=["cgroup", "rlimit"], default="cgroup")
    arguments = parser.parse_args()
    if arguments.command == "make":
        shape = {name: getattr(arguments, name) for name in sizes}
        make(arguments.folder, shape, arguments.seed)
    elif arguments.command == "work":
        _work(arguments)
    else:
        limit_bytes = int(arguments.limit_gib * GIB)
        again = [word for word in sys.argv[2:] if word]
        for flag in ("--limit-gib", "--by"):
            if flag in again:
                del again[again.index(flag) : again.index(flag) + 2]
        facts = limited([sys.executable, __file__, "work", *again], limit_bytes, arguments.by)
        say(json.dumps({"limit_bytes": limit_bytes, "by": arguments.by, **facts}))
        raise SystemExit(0 if facts["returncode"] == 0 else 1)


def _work(arguments: argparse.Namespace) -> None:
    options = {
        "method": "gptq",
        "bits": 4,
        "head_bits": 4,
        "group_size": 32,
        "symmetric": False,
        "bits_per_weight": arguments.bits_per_weight,
        "windows": arguments.windows,
        "window_tokens": arguments.window_tokens,
    }
    resume = arguments.output.with_name(f".{arguments.output.name}.resume")
    forget = functools.partial(shutil.rmtree, resume)
    with finished_folder(arguments.output, afterwards=forget) as scratch:
        quantize_checkpoint(
            arguments.folder, arguments.folder, scratch, options, resume, arguments.threads
        )


if __name__ == "__main__":
    main()
