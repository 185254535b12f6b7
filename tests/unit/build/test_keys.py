"""Keys are the same for the same content and tell what changed."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawplate.build.keys import differences, digest_of_key
from drawplate.build.lock import pins, versions
from drawplate.config.names import flatten
from drawplate.errors import DrawplateError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text("abc", min_size=1), plain))
def test_order_of_writing_does_not_matter(value: dict) -> None:
    assert digest_of_key(value) == digest_of_key(dict(reversed(value.items())))


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text("abc", min_size=1), plain))
def test_a_key_does_not_differ_from_itself(value: dict) -> None:
    assert differences(value, value) == []


def test_differences_name_the_value_before_and_now() -> None:
    before = {"config": {"bits": 4, "group_size": 32}, "code": {"a": "1"}}
    now = {"config": {"bits": 8, "group_size": 32}, "code": {"a": "1", "b": "2"}}
    assert differences(before, now) == [("code.b", None, "2"), ("config.bits", 4, 8)]


def test_flatten_keeps_lists_whole() -> None:
    assert flatten({"a": {"b": [1, {"c": 2}]}, "d": {}}) == {"a.b": [1, {"c": 2}]}


def test_versions_come_from_the_lock_whatever_the_spelling(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# head\nlm_eval==0.4.13\nTorch==2.13.0  # pinned\n")
    assert versions(["torch", "lm-eval"], lock) == {"lm-eval": "0.4.13", "torch": "2.13.0"}
    with pytest.raises(DrawplateError, match="does not pin onnx"):
        versions(["onnx"], lock)


def test_the_committed_lock_pins_every_package_that_a_stage_names() -> None:
    from drawplate.build.stages import STAGES

    root = Path(__file__).parents[3]
    known = pins(root / "requirements.lock")
    assert known["torch"] == "2.13.0"
    for stage in STAGES.values():
        versions(stage.packages, root / "requirements.lock")
        assert (root / "scripts" / f"{stage.script}.py").exists()
