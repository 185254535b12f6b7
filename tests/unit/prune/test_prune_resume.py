"""Prune steps that are killed go on from the last finished layer and end with the same digest."""

import json
import shutil
import subprocess
import sys

import pytest
from tests.tiny import digest

from drawplate.prune import measure, walk
from drawplate.prune.step import prune_checkpoint

PRUNE = {
    "kind": "prune",
    "mlp_share": 0.25,
    "kv_group_share": 0.5,
    "hidden_share": 0.25,
    "layers": 1,
    "score": "activation",
    "refit": "dense",
    "multiple_of": 16,
    "windows": 8,
    "window_tokens": 32,
}

# One process imports all once; its children, which start before any thread, are killed.
KILLER = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
from drawplate.artifacts.manifest import digest_of, list_files
from drawplate.checkpoint.quantized import read_float
from drawplate.prune.step import prune_checkpoint
import transformers.models.llama.modeling_llama

parent, data, folder, config = *map(Path, sys.argv[1:4]), json.loads(sys.argv[4])
resume = folder / ".resume"

def start(output):
    child = os.fork()
    if not child:
        output.mkdir()
        prune_checkpoint(parent, data, output, config, resume, threads=2)
        os._exit(0)
    return child

started = time.monotonic()
assert os.waitpid(start(folder / "whole"), 0)[1] == 0
seconds = time.monotonic() - started
shutil.rmtree(resume)
chooser, kills, left = random.Random(int(sys.argv[5])), 0, []
while True:
    shutil.rmtree(folder / "killed", ignore_errors=True)
    child = start(folder / "killed")
    time.sleep(seconds * chooser.uniform(0.2, 0.9) if kills < 6 else seconds * 50)
    os.kill(child, signal.SIGKILL)
    if os.waitpid(child, 0)[1] == 0:
        break
    kills += 1
    left.append(sorted(path.name for path in resume.glob("*")))
digests = [digest_of(list_files(folder / name)) for name in ("whole", "killed")]
print(json.dumps({"kills": kills, "left": left, "digests": digests}))
"""


def prune(parent, data, output, **changes):
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    resume = output.with_name(f".{output.name}.resume")
    return prune_checkpoint(parent, data, output, PRUNE | changes, resume, threads=2)


@pytest.fixture(scope="module")
def undisturbed(tiny_llama, calibration_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "small"
    return prune(tiny_llama, calibration_data, folder), digest(folder)


@pytest.mark.parametrize("dies_in", ["measure 2", "prune 1", "prune 3"])
def test_no_finished_layer_is_done_again(
    dies_in, undisturbed, tiny_llama, calibration_data, tmp_path, monkeypatch
):
    done = []

    def watched(module, name, phase):
        save = getattr(module, name)

        def save_or_die(folder, part, state):
            place = f"{phase} {state.next_layer - 1}"
            if place == dies_in and place not in done:
                done.append(place)
                raise KeyboardInterrupt
            save(folder, part, state)
            done.append(place)

        monkeypatch.setattr(module, name, save_or_die)

    watched(measure, "save_walk", "measure")
    watched(walk, "save_walk", "prune")
    with pytest.raises(KeyboardInterrupt):
        prune(tiny_llama, calibration_data, tmp_path / "small")
    report = prune(tiny_llama, calibration_data, tmp_path / "small")
    places = [f"{phase} {layer}" for phase in ("measure", "prune") for layer in range(4)]
    places.insert(places.index(dies_in), dies_in)
    assert done == places
    assert (report, digest(tmp_path / "small")) == undisturbed


@pytest.mark.parametrize(
    "changes",
    [{}, {"hidden_share": 0.0, "layers": 0, "refit": "own"}],
    ids=["everything, dense", "width, own"],
)
def test_killed_at_random_points_ends_with_the_same_digest(
    changes, make_decoder, calibration_data, tmp_path
):
    parent = make_decoder(num_hidden_layers=12)
    arguments = [str(parent), str(calibration_data), str(tmp_path), json.dumps(PRUNE | changes)]
    ran = subprocess.run(
        [sys.executable, "-c", KILLER, *arguments, "7"], capture_output=True, text=True, check=True
    )
    result = json.loads(ran.stdout.splitlines()[-1])
    assert result["kills"] > 0
    assert any(name.startswith("layer-") for names in result["left"] for name in names)
    assert result["digests"][0] == result["digests"][1]
