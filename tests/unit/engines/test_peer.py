"""The peer's own rounding comes out as an engine that every command here takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drawplate.engines.open import open_artifact

SCRIPT = Path(__file__).parents[3] / "scripts" / "peer_onnxruntime.py"


@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_the_peer_is_an_engine_near_its_checkpoint(precision, checkpoint, reference, tmp_path):
    output = tmp_path / "peer"
    words = ["--checkpoint", checkpoint("untied"), "--precision", precision, "--output", output]
    subprocess.run([sys.executable, SCRIPT, *map(str, words)], check=True, capture_output=True)
    engine, _, about = open_artifact(output, 2)
    ids = np.random.default_rng(0).integers(3, 500, size=(1, 20))
    logits, expected = engine.logits(ids), reference("untied").logits(ids)
    assert (
        np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > {"int4": 0.8, "int8": 0.99}[precision]
    )
    assert engine.generate(ids, 5).shape == (1, 5)
    assert about["name"] == "peer"
