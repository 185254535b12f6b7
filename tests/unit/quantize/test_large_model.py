"""A checkpoint whose float weights do not fit under a limit that the kernel holds."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SHAPE = {
    "hidden-size": 512,
    "intermediate-size": 1024,
    "num-hidden-layers": 20,
    "num-attention-heads": 8,
    "num-key-value-heads": 2,
    "vocab-size": 256,
}
FLOAT_MIB = 20 * 4 * (3 * 512 * 1024 + 512 * (2 * 512 + 2 * 128)) / 2**20
MARGIN_MIB = 40  # a layer is 9 MiB
ONE_LAYER = """
import re, sys, threading, time
sys.path.insert(0, "scripts")
peak = [0]

def watch():
    while True:
        status = open("/proc/self/status").read()
        peak[0] = max(peak[0], int(re.search(r"VmData:\\s+(\\d+)", status)[1]))
        time.sleep(0.002)

threading.Thread(target=watch, daemon=True).start()
import large_model
large_model.main()
print(peak[0])
"""


def run(*words, check=True):
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=check)


def make(folder, layers):
    shape = SHAPE | {"num-hidden-layers": layers}
    sizes = [word for name, size in shape.items() for word in (f"--{name}", size)]
    run("scripts/large_model.py", "make", folder, *sizes)


def test_memory_is_bounded_by_layers_and_not_by_the_model(tmp_path):
    assert FLOAT_MIB / 2 > 2 * MARGIN_MIB  # no copy in any precision fits
    make(tmp_path / "one", 1)
    make(tmp_path / "base", SHAPE["num-hidden-layers"])
    budget = ["--windows", 4, "--window-tokens", 64, "--threads", 1]
    one = run("-c", ONE_LAYER, "work", tmp_path / "one", tmp_path / "one.int4", *budget)
    # Files are mapped privately, which the kernel counts as the process's own.
    mapped = (tmp_path / "base" / "model.safetensors").stat().st_size / 2**20
    limit_gib = (int(one.stdout) / 1024 + mapped + MARGIN_MIB) / 1024
    words = ["scripts/large_model.py", "quantize", tmp_path / "base", tmp_path / "int4", *budget]
    done = run(*words, "--by", "rlimit", "--limit-gib", limit_gib, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stderr.splitlines()[-1])["returncode"] == 0
    assert (tmp_path / "int4" / "model.safetensors").stat().st_size < FLOAT_MIB * 2**20 / 5
    starved = run(*words, "--by", "rlimit", "--limit-gib", limit_gib / 2, check=False)
    assert starved.returncode == 1  # the limit is a real one
