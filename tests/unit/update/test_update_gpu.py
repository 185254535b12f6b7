"""A comparison of engines for a GPU: on one of their kind, leased as a job's is."""

import os
from types import SimpleNamespace

import pytest
from tests.fake_gpus import A100, RTX_4090, path_with

from drawplate.build import gpus
from drawplate.update import loop


@pytest.mark.parametrize(("kind", "visible"), [("sm89", "GPU-0001"), (None, None)])
def test_candidate_and_champion_are_timed_on_a_gpu_of_their_kind(
    tmp_path, monkeypatch, kind, visible
):
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin", A100, RTX_4090))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    seen = []

    def timed(pair, cache):
        seen.append(os.environ.get(gpus.VISIBLE))
        return {"against": None, "performance": None, "ratio": {}, "tokens": {"repeats": 2}}

    def evaluated(pair, noted):
        seen.append(os.environ.get(gpus.VISIBLE))

    verdict = {"passed": True, "reasons": [], "measures": {}}
    for name, stand_in in (
        ("champion_evaluation", evaluated),
        ("compared_speed", timed),
        ("compared_quality", lambda *words: {}),
        ("same_tokenizer", lambda pair: True),
        ("judge", lambda limits, **facts: verdict),
    ):
        monkeypatch.setattr(loop, name, stand_in)
    engine = {"name": "int4", "artifact": {"path": "engine"}, "performance": None}
    nodes = {"evaluate": None, "benchmark": SimpleNamespace(gpu=kind)}
    present = {"digest": "2" * 64, "bytes": 1, "evaluation": None}
    loop._judged(
        SimpleNamespace(model="tiny", update={}),
        SimpleNamespace(variants=[{"name": "int4", "nodes": nodes}]),
        present,
        SimpleNamespace(variant=engine, evaluation=None),
        {"digest": "1" * 64, "bytes": 1},
        {},
    )
    assert seen == [visible, visible]
    assert gpus.VISIBLE not in os.environ
