"""Against a real SQLite store."""

import pytest

from drawplate.errors import DrawplateError
from drawplate.track.registry import CANDIDATE, CHAMPION, point, register, version_of

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


def test_an_engine_is_one_version_however_often_it_is_registered(store):
    assert version_of(store, "tiny", CHAMPION) is None
    first = register(store, "tiny", ONE, {"variant": "int8", "bytes": 3, "nothing": None}, None)
    second = register(store, "tiny", OTHER, {"variant": "int4"}, "no-such-run")
    again = register(store, "tiny", ONE, {"variant": "renamed"}, None)
    assert (first.number, second.number, again.number) == ("1", "2", "1")
    point(store, "tiny", CHAMPION, first.number)
    found = version_of(store, "tiny", CHAMPION)
    assert found.digest == ONE
    assert found.tags == {"manifest_digest": ONE, "variant": "renamed", "bytes": "3"}
    assert version_of(store, "tiny", CANDIDATE) is None
    point(store, "tiny", CHAMPION, second.number)
    assert version_of(store, "tiny", CHAMPION).digest == OTHER


def test_a_version_comes_from_its_run_where_the_store_has_it(store):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    run = client.create_run(client.create_experiment("runs")).info.run_id
    number = register(store, "of-a-run", ONE, {}, run).number
    assert client.get_model_version("of-a-run", number).run_id == run


def test_champions_are_in_the_registry_that_the_user_names(tmp_path, monkeypatch):
    tracking, own = (f"sqlite:///{tmp_path}/{name}.db" for name in ("tracking", "registry"))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", own)
    point(tracking, "tiny", CHAMPION, register(tracking, "tiny", ONE, {}, None).number)
    assert version_of(tracking, "tiny", CHAMPION).digest == ONE
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    assert version_of(own, "tiny", CHAMPION).digest == ONE
    assert version_of(tracking, "tiny", CHAMPION) is None
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    with pytest.raises(DrawplateError, match="MLFLOW_REGISTRY_URI names cannot be used"):
        version_of(tracking, "tiny", CHAMPION)


def test_a_champion_that_names_no_engine_is_one_line(store):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    client.create_registered_model("foreign")
    client.create_model_version("foreign", source="runs:/elsewhere")
    point(store, "foreign", CHAMPION, "1")
    with pytest.raises(DrawplateError, match="is version 1, which names no engine"):
        version_of(store, "foreign", CHAMPION)
