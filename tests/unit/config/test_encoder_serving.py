"""Which experiments of a sentence encoder can end in an image."""

from pathlib import Path

import pytest

from drawplate.config.compose import load
from drawplate.errors import DrawplateError

CONF = Path(__file__).parents[3] / "conf"


def test_an_encoder_is_packaged_with_texts_as_long_as_it_was_evaluated_with():
    build = load(CONF, "minilm", ["package.build=true"])
    assert build.package["limits"]["max_prompt_tokens"] == build.evaluate["encoder_tokens"]


def test_an_engine_whose_server_is_for_other_tasks_is_none():
    overrides = ["package.build=true", "engines.onnxruntime.server=null"]
    assert load(CONF, "minilm", overrides).package["build"]  # on openvino
    with pytest.raises(DrawplateError, match="no engine of this experiment has a server"):
        load(CONF, "minilm", [*overrides, "engines.openvino.server=null"])
