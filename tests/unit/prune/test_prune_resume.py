"""Prune steps that are killed go on from the last finished layer and end with the same digest."""

import json
import shutil
import signal
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

# One process imports all once; its children, which start before any thread, are ended by the
# kernel with no last word (as SIGKILL does, but by its own timer), a random part of a layer's time
# after some part was saved: how far a child gets hangs on its progress, not on the machine's load.
KILLER = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
from drawplate.artifacts.manifest import digest_of, list_files
from drawplate.checkpoint.quantized import read_float
from drawplate.prune import state
from drawplate.prune.step import prune_checkpoint
import transformers.models.llama.modeling_llama

parent, data, folder, config = *map(Path, sys.argv[1:4]), json.loads(sys.argv[4])
resume = folder / ".resume"

def run(output, prefix, nth, delay_s):
    # How a run ends that has `delay_s` left after its nth part of this prefix.
    child = os.fork()
    if not child:
        save, saved = state.save_part, []
        def save_and_die_soon(folder, name, tensors):
            save(folder, name, tensors)
            saved.append(name.startswith(prefix))
            if saved[-1] and sum(saved) == nth:
                signal.setitimer(signal.ITIMER_REAL, delay_s)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        state.save_part = save_and_die_soon
        output.mkdir()
        prune_checkpoint(parent, data, output, config, resume, threads=2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

started = time.monotonic()
assert run(folder / "whole", "none", 1, 0) == 0
layer_s = (time.monotonic() - started) / (4 * 12)
shutil.rmtree(resume)
chooser, left = random.Random(int(sys.argv[5])), []
# The fifth dies in the second walk, where layers are cut; the sixth is left to finish.
for prefix in ["", "", "", "", "layer-", "none"]:
    shutil.rmtree(folder / "killed", ignore_errors=True)
    nth = 1 if prefix else chooser.randint(1, 4)
    status = run(folder / "killed", prefix, nth, chooser.uniform(1e-5, layer_s))
    left.append((status, sorted(path.name for path in resume.glob("*"))))
digests = [digest_of(list_files(folder / name)) for name in ("whole", "killed")]
print(json.dumps({"left": left, "digests": digests}))
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
    *killed, last = result["left"]
    assert {status for status, _ in killed} == {-signal.SIGALRM}
    assert any(name.startswith("layer-") for _, names in killed for name in names)
    assert last[0] == 0
    assert result["digests"][0] == result["digests"][1]
