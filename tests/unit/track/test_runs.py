"""Against a real SQLite store."""

import pytest

from drawplate.build.keys import digest_of_key
from drawplate.errors import DrawplateError
from drawplate.track.runs import attach_report, log_build

CONFIG = {
    "experiment": "tiny",
    "recipes": {"int4": {"steps": {"int4": {"bits": 4, "note": "n" * 7000}}}, "other": {}},
    "engines": {"onnxruntime": {"options": {"accuracy_level": 4}}},
    "many": {f"value{i}": i for i in range(150)},
}
FACTS = {
    "experiment": "tiny",
    "model": "tiny",
    "git_commit": "abcdef0123456789",
    "machine": {"cpu": "Xeon"},
    "base": {"digest": "b" * 64},
    "pareto": ["int4-onnxruntime-cpu"],
    "variants": [
        {
            "name": "int4-onnxruntime-cpu", "recipe": "int4", "lineage": "base.int4",
            "engine": "onnxruntime", "target": "cpu", "status": "ok", "reason": None,
            "artifact": {"digest": "d" * 64, "path": "artifacts/tiny", "bytes": 5_000_000,
                         "bits_per_weight": 4.5},
            "quality": {"perplexity": {"value": 15.2, "ci95": [15.0, 15.4]}, "kl_to_base": None,
                        "tasks": {"arc_easy": {"accuracy": 0.5}}, "retention": 0.93,
                        "perplexity_by_text": {"docs": {"value": 15.2}}},
            "performance": {"batch_1": {"decode_tokens_per_s": {"median": 200.0}},
                            "batch_8": None, "load_s": 0.3, "peak_rss_bytes": 2e8},
            "gate": {"passed": False, "reasons": ["It does not pay."]},
            "jobs": [{"stage": "gate", "key": {"config": {"bits": 4}}}],
        },
        {
            "name": "int8-onnxruntime-cpu", "recipe": "int8", "lineage": "base.int8",
            "engine": "onnxruntime", "target": "cpu", "status": "failed",
            "reason": "verify failed: garbage", "artifact": None, "quality": None,
            "performance": None, "gate": {"passed": None, "reasons": []}, "jobs": [],
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    yield f"sqlite:///{folder}/mlflow.db"
    patch.undo()


@pytest.fixture(scope="module")
def client(store):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store)


@pytest.fixture(scope="module")
def tracked(store):
    return log_build(FACTS, CONFIG, store, "k" * 16)


def test_one_parent_and_one_nested_run_a_variant(tracked, client):
    runs = client.search_runs([tracked["experiment_id"]])
    assert len(runs) == 3
    child = client.get_run(tracked["runs"]["int4-onnxruntime-cpu"])
    assert child.data.tags["mlflow.parentRunId"] == tracked["parent_run_id"]
    assert child.data.tags["manifest_digest"] == "d" * 64
    assert child.data.tags["mlflow.source.git.commit"] == "abcdef0123456789"
    assert child.data.tags["lineage"] == "base.int4" and child.data.tags["gate"] == "failed"
    assert child.data.tags["reason"] == "It does not pay."
    assert child.data.tags["key.gate"] == digest_of_key({"config": {"bits": 4}})
    parent = client.get_run(tracked["parent_run_id"])
    assert parent.info.status == "FINISHED" and parent.data.metrics["variants_ok"] == 1


def test_config_becomes_params_and_numbers_become_metrics(tracked, client):
    child = client.get_run(tracked["runs"]["int4-onnxruntime-cpu"])
    assert child.data.params["recipe.steps.int4.bits"] == "4"
    assert len(child.data.params["recipe.steps.int4.note"]) == 6000
    assert child.data.params["many.value149"] == "149"
    assert not [name for name in child.data.params if "other" in name]
    assert child.data.metrics["perplexity"] == 15.2
    assert child.data.metrics["batch_1.decode_tokens_per_s"] == 200.0
    parent = client.get_run(tracked["parent_run_id"])
    assert parent.data.params["recipes.int4.steps.int4.bits"] == "4"


def test_a_failed_variant_is_a_failed_run_with_its_reason(tracked, client):
    run = client.get_run(tracked["runs"]["int8-onnxruntime-cpu"])
    assert run.info.status == "FAILED" and run.data.tags["reason"] == "verify failed: garbage"


def test_the_report_is_attached_to_the_parent(tracked, client, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>hello</p>")
    attach_report(tracked, [report])
    (found,) = client.list_artifacts(tracked["parent_run_id"], "report")
    assert found.path == "report/report.html"


def test_logging_the_same_build_again_takes_the_place_of_the_first(tracked, client, store):
    again = log_build(FACTS, CONFIG, store, "k" * 16)
    assert again["parent_run_id"] != tracked["parent_run_id"]
    assert len(client.search_runs([again["experiment_id"]])) == 3


def test_a_store_that_has_gone_does_not_fail_the_report(tracked, tmp_path, capsys):
    gone = tracked | {"tracking_uri": "http://127.0.0.1:9"}
    attach_report(gone, [tmp_path / "report.html"])
    error = capsys.readouterr().err
    assert error.startswith("warning: the report was not attached") and error.count("\n") == 1


def test_a_store_that_refuses_is_one_line(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is not a database, however long one looks at it")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(DrawplateError) as caught:
        log_build(FACTS, CONFIG, uri, "k" * 16)
    assert uri in str(caught.value) and "\n" not in str(caught.value)
