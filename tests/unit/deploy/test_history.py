"""The image before the present one is remembered."""

import pytest

from drawplate.deploy.history import former
from drawplate.errors import DrawplateError


def entry(letter: str) -> dict[str, str]:
    return {"digest": f"sha256:{letter}", "engine_digest": "sha256:e", "variant": "v"}


def test_the_last_other_image_is_the_former_one(tmp_path):
    path = tmp_path / "deploy" / "history.json"
    assert former(path, entry("a")) is None
    assert former(path, entry("a")) is None
    assert former(path, entry("b")) == entry("a")
    assert former(path, entry("b")) == entry("a")  # the same image built again
    assert former(path, entry("a")) == entry("b")  # the older one again


@pytest.mark.parametrize("text", ['{"digest": "x"}', '[{"digest": 1}]', "[1]"])
def test_a_damaged_history_is_told(tmp_path, text):
    path = tmp_path / "history.json"
    path.write_text(text)
    with pytest.raises(DrawplateError, match="is damaged: delete it"):
        former(path, entry("a"))
