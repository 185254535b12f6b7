"""A deep model is pruned in far less memory than it takes, under a limit that the kernel sets."""

import json
import subprocess
import sys

import pytest

PRUNE = {
    "kind": "prune",
    "mlp_share": 0.25,
    "kv_group_share": 0.5,
    "hidden_share": 0.25,
    "layers": 2,
    "score": "activation",
    "refit": "dense",
    "multiple_of": 16,
    "windows": 8,
    "window_tokens": 32,
}
SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 40}
LAYER_BYTES = 4 * (256 * (256 + 2 * 128 + 256) + 3 * 256 * 512)
SLACK_BYTES = 48 * 2**20
"""What may be needed beyond two layers: their activations, moments, a shard, threads' stacks."""

SHARD_BYTES = 8 * 2**20

# A first, small run allocates what any run does. Files are mapped as private memory, which the
# limit counts: it is raised by what opening the checkpoint maps.
LIMITED = """
import json, resource, sys
from pathlib import Path
from drawplate.checkpoint import files
from drawplate.layerwise.decoder import open_decoder
from drawplate.prune import step

def data_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmData")))

small, deep, data, output = map(Path, sys.argv[1:5])
config, slack, files.SHARD_BYTES = json.loads(sys.argv[5]), int(sys.argv[6]), int(sys.argv[7])

def prune(parent, name):
    (output / name).mkdir()
    step.prune_checkpoint(parent, data, output / name, config, output / f".{name}", threads=2)

prune(small, "small")
before = data_bytes()
opened = open_decoder(deep)
mapped = data_bytes() - before
del opened
limit = before + mapped + slack
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
prune(deep, "deep")
opened = open_decoder(deep)
try:
    bytearray(sum(path.stat().st_size for path in deep.glob("*.safetensors")))
except MemoryError:
    print("no room for a copy of the weights")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux only")
def test_memory_does_not_grow_with_depth(make_decoder, calibration_data, tmp_path):
    shallow = SIZES | {"num_hidden_layers": 4}
    small, deep = make_decoder(**shallow), make_decoder(**SIZES)
    weights_bytes = sum(path.stat().st_size for path in deep.glob("*.safetensors"))
    assert weights_bytes > 1.5 * (2 * LAYER_BYTES + SLACK_BYTES)
    (tmp_path / "output").mkdir()
    folders = map(str, (small, deep, calibration_data, tmp_path / "output"))
    numbers = (str(2 * LAYER_BYTES + SLACK_BYTES), str(SHARD_BYTES))
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, *folders, json.dumps(PRUNE), *numbers],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip().endswith("no room for a copy of the weights")
