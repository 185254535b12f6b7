"""What a step finished is kept until its result stands, and no longer."""

import json
import sys

import pytest
from tests.tiny import write_model

from drawplate.artifacts.manifest import write_manifest
from drawplate.build import step as steps
from drawplate.errors import DrawplateError
from drawplate.quantize.step import quantize_checkpoint

DIGEST, OTHER = "0123456789abcdef", "f" * 16
CONFIG = {"method": "gptq", "bits": 4, "head_bits": 4, "group_size": 32, "symmetric": False}
CONFIG |= {"windows": 4, "window_tokens": 32}


@pytest.fixture
def step(tmp_path, monkeypatch):
    """A quantize step as its script runs it."""
    parent = tmp_path / "base"
    write_model(parent)
    facts = {"step": None, "key": {}, "tools": {}, "command": "", "format": None}
    write_manifest(parent, kind="checkpoint", name="base", parent=None, started=0.0, **facts)
    (tmp_path / "data" / "texts").mkdir(parents=True)
    row = json.dumps({"id": "0", "text": "the river ran past a quiet mill " * 200})
    (tmp_path / "data" / "texts" / "calibration.jsonl").write_text(row + "\n")
    job = {"stage": "quantize", "name": "base.int4", "model": "tiny", "config": CONFIG, "key": {}}
    job |= {"digest": DIGEST * 4, "packages": ["torch"], "threads": 1}
    (tmp_path / "job.json").write_text(json.dumps(job | {"failure": str(tmp_path / "failure")}))
    words = {"config": "job.json", "parent": "base", "data": "data", "output": "base.int4"}
    words = [w for name, file in words.items() for w in (f"--{name}", str(tmp_path / file))]
    monkeypatch.setattr(sys, "argv", ["quantize.py", *words])

    def change(inputs):
        quantize_checkpoint(
            inputs.parent, inputs.data, inputs.output, inputs.config, inputs.resume, 1
        )
        return {}

    return lambda: steps.run_step(None, change)


def test_failure_after_the_walk_does_not_cost_the_walk(step, tmp_path, monkeypatch):
    resume = tmp_path / f".base.int4.{DIGEST}.resume"

    def fail(*_):
        raise DrawplateError("not what its step declares")

    with monkeypatch.context() as failing:
        failing.setattr(steps, "check_truth", fail)
        with pytest.raises(SystemExit):
            step()
    finished = {path.name: path.stat().st_mtime_ns for path in resume.glob("*.safetensors")}
    assert len(finished) == 3
    told = []

    def told_check(*_):
        told.append({p.name: p.stat().st_mtime_ns for p in resume.glob("*.safetensors")})

    monkeypatch.setattr(steps, "check_truth", told_check)
    step()
    assert told == [finished]
    assert (tmp_path / "base.int4" / "model.safetensors").exists()
    assert not resume.exists()


def test_what_other_runs_of_one_output_left_goes_with_it(step, tmp_path):
    given_up = tmp_path / f".base.int4.{OTHER}.resume"
    others = [tmp_path / f".base.{OTHER}.resume", tmp_path / f".base.int4.kd.{OTHER}.resume"]
    for folder in (given_up, *others):
        folder.mkdir()
        (folder / "layer-00000.safetensors").touch()
    step()
    assert not given_up.exists()
    assert all(folder.exists() for folder in others)
