"""What a rolling update refuses before it starts anything."""

import pytest

from drawplate.deploy.rolling import Rolling
from drawplate.errors import DrawplateError

SERVER = "name: a\nservices: {{server: {{stop_grace_period: {}, healthcheck: {}}}}}"
CHECK = "{interval: 5s, start_period: 30s, retries: 3}"


@pytest.mark.parametrize(
    ("text", "port", "message"),
    [
        (None, 8000, "compose.yaml cannot be read"),
        ("{", 8000, "is no compose file"),
        ("name: a", 8000, "has no entry 'services'"),
        ("name: a\nservices: {}", 8000, "has no entry 'server'"),
        (SERVER.format("1m", CHECK), 8000, "is no compose file"),
        (SERVER.format("10s", CHECK), 99999, "port 99999 .*: write 1 to 65533"),
        (SERVER.format("10s", CHECK), 0, "port 0 "),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_leaves_nothing(tmp_path, text, port, message):
    compose, state = tmp_path / "compose.yaml", tmp_path / "state"
    if text is not None:
        compose.write_text(text)
    with pytest.raises(DrawplateError, match=message):
        Rolling(state).start(compose, "true", "an-image", port)
    assert not state.exists()
