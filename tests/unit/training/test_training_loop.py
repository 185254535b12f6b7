import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.tiny import digest
from tests.tiny_training import TRAINING, new_folder

from drawplate.artifacts.manifest import check_files, read_manifest, write_manifest
from drawplate.errors import DrawplateError
from drawplate.recover import step
from drawplate.training import loop, watch
from drawplate.training.split import is_held_out
from drawplate.training.watch import curve_of, last_whole_step

CONFIG = TRAINING | {"method": "full", "rank": 4, "alpha": 8}
ROOT = Path(__file__).parents[3]


def recover(parent, data, output, **changes):
    shutil.rmtree(output, ignore_errors=True)
    folder, resume = new_folder(output)
    return step.recover_checkpoint(parent, data, folder, CONFIG | changes, resume, threads=1)


@pytest.fixture(scope="module")
def undisturbed(damaged, text_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "full"
    return output, recover(damaged, text_data, output)


@pytest.fixture
def dying(monkeypatch):
    """A function that makes a training keep each step and die in the pass after `passes`."""
    loss, left = step.next_token_loss, []

    def loss_or_die(model, batch):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return loss(model, batch)

    def arm(passes):
        left.extend(range(passes))
        monkeypatch.setattr(step, "next_token_loss", loss_or_die)
        monkeypatch.setattr(watch, "SECONDS_BETWEEN_SAVES", 0.0)

    return arm


def test_same_config_gives_the_same_bits(undisturbed, damaged, text_data, tmp_path):
    recover(damaged, text_data, tmp_path / "full")
    assert digest(tmp_path / "full") == digest(undisturbed[0])


def test_killed_run_goes_on_and_ends_with_the_same_bits(
    undisturbed, damaged, text_data, tmp_path, dying, monkeypatch
):
    # One pass measures before the first step and one after the third, each step takes one.
    dying(9)
    with pytest.raises(KeyboardInterrupt):
        recover(damaged, text_data, tmp_path / "full")
    resume = tmp_path / ".full.resume"
    assert [p.name for p in resume.iterdir()] == ["checkpoint-6"]
    (resume / "checkpoint-7").mkdir()  # as if killed while the next was being written
    (resume / "checkpoint-7" / "trainer_state.json").write_text("{")
    monkeypatch.undo()
    facts = recover(damaged, text_data, tmp_path / "full")
    assert facts["resumed_after_step"] == 6
    assert digest(tmp_path / "full") == digest(undisturbed[0])
    for found, expected in zip(facts["curve"], undisturbed[1]["curve"], strict=True):
        assert found == pytest.approx(expected, abs=2e-6)


def test_killed_in_the_middle_of_a_batch_of_parts(damaged, text_data, tmp_path, dying, monkeypatch):
    monkeypatch.setattr(loop, "MICRO_TOKENS", 64)  # two parts a batch
    recover(damaged, text_data, tmp_path / "whole", epochs=1)
    dying(2 + 2 * 2 + 2 + 1)
    with pytest.raises(KeyboardInterrupt):
        recover(damaged, text_data, tmp_path / "again", epochs=1)
    monkeypatch.undo()
    monkeypatch.setattr(loop, "MICRO_TOKENS", 64)
    facts = recover(damaged, text_data, tmp_path / "again", epochs=1)
    assert 0 < facts["resumed_after_step"] < 6
    assert digest(tmp_path / "again") == digest(tmp_path / "whole")


def test_parts_of_a_batch_add_up_to_it(undisturbed, damaged, text_data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "MICRO_TOKENS", 32)
    facts = recover(damaged, text_data, tmp_path / "parts")
    after = undisturbed[1]["held_out_loss_after_nats"]
    assert facts["held_out_loss_after_nats"] == pytest.approx(after, abs=1e-3)


@pytest.mark.integration
def test_script_survives_a_kill(undisturbed, damaged, text_data, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(damaged, parent)
    facts = {"step": None, "key": {}, "tools": {}, "command": "", "format": None}
    write_manifest(parent, kind="checkpoint", name="base", parent=None, started=0.0, **facts)
    job = {"stage": "recover", "name": "base.full", "model": "tiny", "config": CONFIG, "key": {}}
    job |= {"digest": "0" * 16, "packages": ["torch"], "threads": 1}
    (tmp_path / "job.json").write_text(json.dumps(job | {"failure": str(tmp_path / "failure")}))
    # The script as it is, but keeping each step and slow enough to be caught.
    slow = (
        "import runpy, sys, time; sys.argv = sys.argv[1:]\n"
        "from drawplate.training import watch\n"
        "watch.SECONDS_BETWEEN_SAVES = 0.0\n"
        "save = watch.Watch.on_save\n"
        "watch.Watch.on_save = lambda *a, **k: (save(*a, **k), time.sleep(0.3))[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = [f"{ROOT}/scripts/recover.py", "--config", tmp_path / "job.json", "--parent", parent]
    words += ["--data", text_data, "--output", tmp_path / "full"]
    resume = tmp_path / f".full.{'0' * 16}.resume"
    process = subprocess.Popen([sys.executable, "-c", slow, *words], cwd=ROOT)
    while not list(resume.glob("checkpoint-*/whole")) and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "full").exists()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "goes on after step" in done.stderr
    manifest = read_manifest(tmp_path / "full")
    assert manifest["training"]["resumed_after_step"] > 0
    assert manifest["training"]["improved"]
    assert check_files(tmp_path / "full") == []
    names = ("model.safetensors", "config.json")
    assert all(
        (tmp_path / "full" / n).read_bytes() == (undisturbed[0] / n).read_bytes() for n in names
    )
    assert not resume.exists()


def test_loss_that_is_no_number_fails_and_leaves_nothing_to_go_on_from(
    damaged, text_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(watch, "SECONDS_BETWEEN_SAVES", 0.0)
    with pytest.raises(DrawplateError, match=r"loss is nan after step .*: lower learning_rate"):
        recover(damaged, text_data, tmp_path / "full", learning_rate=1e30)
    assert not (tmp_path / ".full.resume").exists()


def test_rise_of_the_loss_is_recorded_and_told(damaged, text_data, tmp_path, capfd):
    facts = recover(damaged, text_data, tmp_path / "full", learning_rate=1.0, epochs=1)
    assert facts["improved"] is False
    assert "warning: the held-out loss rose from" in capfd.readouterr().err


def test_full_disk_is_foreseen(damaged, text_data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1))
    with pytest.raises(DrawplateError, match="keeping steps of the training needs"):
        recover(damaged, text_data, tmp_path / "full")


def test_held_out_windows_are_spread_evenly():
    assert is_held_out(12, 3).nonzero().flatten().tolist() == [2, 6, 10]
    assert is_held_out(168, 8).sum() == 8
    assert is_held_out(5, 5).all()


def test_parts_divide_the_batch_and_stay_small():
    assert loop.micro_windows(4, 256) == 4
    assert loop.micro_windows(8, 256) == 4
    assert loop.micro_windows(6, 256) == 3
    assert loop.micro_windows(7, 256) == 1
    assert loop.micro_windows(4, 4096) == 1


def test_curve_weighs_training_losses_by_their_steps():
    history = [
        {"step": 0, watch.HELD_OUT: 3.0},
        {"step": 1, "loss": 6.0},
        {"step": 3, watch.HELD_OUT: 2.0},
        {"step": 3, "loss": 3.0},
        {"step": 4, watch.HELD_OUT: 1.0},
        {"step": 4, "loss": 1.0},
    ]
    assert curve_of(history) == [(0, 3.0, None), (3, 2.0, 4.0), (4, 1.0, 1.0)]


def test_only_whole_steps_count_and_the_rest_is_deleted(tmp_path):
    for number in (2, 10, 11):
        (tmp_path / f"checkpoint-{number}").mkdir()
    for number in (2, 10):
        (tmp_path / f"checkpoint-{number}" / "whole").touch()
    assert last_whole_step(tmp_path) == tmp_path / "checkpoint-10"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-10"]
    assert last_whole_step(tmp_path / "none") is None
