import json
from pathlib import Path

import pytest

from drawplate.build.job import digest_of_result
from drawplate.errors import DrawplateError
from drawplate.report import contract
from drawplate.report.facts import collect
from drawplate.report.pareto import front


def by_name(facts):
    return {v["name"].removesuffix("-onnxruntime-cpu"): v for v in facts["variants"]}


def test_a_whole_build_follows_the_contract(build):
    facts = collect(build)
    contract.check("report", facts)
    int4 = by_name(facts)["int4"]
    assert int4["status"] == "ok" and int4["reason"] is None
    assert int4["artifact"]["bytes"] == 104_000_000
    assert int4["quality"]["retention"] == pytest.approx(14.10 / 15.20)
    assert int4["quality"]["perplexity"]["text"] == "factbook, docs"
    assert int4["performance"]["batch_8"]["decode_tokens_per_s"]["median"] == 546.0
    assert facts["base"]["license"] == "Apache-2.0" and "Q4_1" in facts["base"]["notes"]
    assert by_name(facts)["float"]["quality"]["retention"] == 1.0


def test_long_lists_of_examples_stay_out(build):
    text = json.dumps(collect(build))
    assert "nll_per_window" not in text and '"correct"' not in text


def test_the_front_leaves_out_what_the_gate_stopped_and_what_is_dominated(build):
    facts = collect(build)
    assert facts["pareto"] == [f"{n}-onnxruntime-cpu" for n in ("float", "int8", "int4")]
    variants = facts["variants"]
    slow = json.loads(json.dumps(variants[2]))
    slow["name"] = "slow"
    slow["performance"]["batch_1"]["decode_tokens_per_s"]["median"] = 100.0
    assert "slow" not in front([*variants, slow])


def test_an_encoder_is_ranked_by_its_first_task(build):
    variants = collect(build)["variants"]
    for variant, measure in zip(variants, (0.91, 0.90, 0.80, 0.99), strict=True):
        variant["quality"]["perplexity"] = None
        variant["quality"]["tasks"] = {"sts_spearman": {"accuracy": measure, "ci95": [0, 1]}}
    assert front(variants) == [f"{n}-onnxruntime-cpu" for n in ("float", "int8", "int4")]


def test_a_failed_job_fails_its_variant_with_its_reason(build, breaker):
    breaker(build, "int4-onnxruntime-cpu", "verify", "logits differ by 3.2")
    facts = collect(build)
    contract.check("report", facts)
    int4 = by_name(facts)["int4"]
    assert (int4["status"], int4["reason"]) == ("failed", "verify failed: logits differ by 3.2")
    assert int4["artifact"] is not None and int4["quality"] is None and int4["performance"] is None
    assert int4["gate"]["passed"] is None
    assert by_name(facts)["int8"]["status"] == "ok"


def test_a_reason_that_names_its_job_is_not_told_twice(build, breaker):
    said = "benchmark of base.float/onnxruntime-cpu failed at load: too little memory"
    breaker(build, "float-onnxruntime-cpu", "benchmark", said)
    breaker(build, "int8-onnxruntime-cpu", "gate", failed=False)
    variants = by_name(collect(build))
    assert variants["float"]["reason"] == said
    assert variants["int8"]["reason"] == f"gate not reached, since {said}"


def test_a_failure_under_another_key_is_history(build, breaker):
    breaker(build, "int4-onnxruntime-cpu", "verify", failed=False)
    old = {"stage": "verify", "name": "int4-onnxruntime-cpu", "key": "0" * 16, "reason": "old"}
    failures = Path(build["failures"])
    failures.mkdir(parents=True)
    (failures / "verify--int4-onnxruntime-cpu.json").write_text(json.dumps(old))
    int4 = by_name(collect(build))["int4"]
    assert int4["status"] == "not_run" and "old" not in int4["reason"]
    assert "verify not reached" in int4["reason"]


def test_the_base_failing_leaves_its_children_not_run(build, breaker):
    for name in ("int4", "int8", "int4rtn"):
        breaker(build, f"{name}-onnxruntime-cpu", "benchmark", failed=False)
    breaker(build, "float-onnxruntime-cpu", "engine", "out of memory")
    facts = collect(build)
    contract.check("report", facts)
    assert by_name(facts)["float"]["status"] == "failed"
    assert by_name(facts)["int8"]["status"] == "not_run"
    assert (
        "engine of float-onnxruntime-cpu failed: out of memory" in by_name(facts)["int8"]["reason"]
    )
    assert by_name(facts)["int8"]["quality"]["retention"] is None
    assert facts["pareto"] == []


def test_a_failed_download_is_told_for_every_variant(build, breaker, tmp_path):
    for row in build["variants"]:
        breaker(build, row["name"], "checkpoint", failed=False)
    (tmp_path / "artifacts/tiny/base/manifest.json").unlink()
    (Path(build["machine"]) / "machine.json").unlink()
    note = {"stage": "data", "name": "data", "key": "1" * 16, "reason": "wrong digest"}
    failures = Path(build["failures"])
    failures.mkdir(parents=True)
    (failures / "data--data.json").write_text(json.dumps(note))
    facts = collect(build)
    contract.check("report", facts)
    assert {v["status"] for v in facts["variants"]} == {"not_run"}
    assert all("data of data failed: wrong digest" in v["reason"] for v in facts["variants"])


def test_failures_of_no_ancestor_are_not_the_cause(build, breaker):
    breaker(build, "int4-onnxruntime-cpu", "checkpoint", failed=False)
    build["variants"][2]["ancestors"].append("artifacts/tiny/teachers/base-1a/" + "4" * 16 + ".key")
    failures = Path(build["failures"])
    failures.mkdir(parents=True)

    def fail(stage, name, key):
        note = {"stage": stage, "name": name, "key": key * 16, "reason": f"broke under {key}"}
        (failures / f"{stage}--{name}.json").write_text(json.dumps(note))

    fail("data", "data", "2")  # of settings that are no longer asked for
    fail("teacher", "base-0c", "3")  # of another recipe, or of a config that has changed
    reason = by_name(collect(build))["int4"]["reason"]
    assert reason == "checkpoint not reached: the build ended before it"
    fail("teacher", "base-1a", "4")
    reason = by_name(collect(build))["int4"]["reason"]
    assert "since teacher of base-1a failed: broke under 4" in reason


def test_runs_of_another_build_are_not_taken_for_this_ones(build, tmp_path):
    gates = {r["name"]: Path(r["stamps"]["gate"]).stem for r in build["variants"]}
    names = [r["name"] for r in build["variants"]]
    result = {"tracking_uri": "sqlite:///x.db", "experiment_id": "1", "parent_run_id": "p"}
    result |= {"runs": {n: f"run-{n}" for n in names}, "gates": gates}
    track = tmp_path / "track"
    track.mkdir()
    (track / "track.json").write_text(
        json.dumps({"result": result, "result_sha256": digest_of_result(result)})
    )
    build["track"] = str(track)
    facts = collect(build)
    assert facts["variants"][0]["mlflow_run_id"] == f"run-{names[0]}"
    result["gates"][names[0]] = "f" * 16
    (track / "track.json").write_text(
        json.dumps({"result": result, "result_sha256": digest_of_result(result)})
    )
    assert collect(build)["variants"][0]["mlflow_run_id"] is None


def test_a_departure_from_the_contract_is_one_line(build):
    facts = collect(build)
    facts["variants"][0]["quality"]["perplexity"]["value"] = "low"
    with pytest.raises(DrawplateError, match=r"variants\[0\].quality.perplexity.value"):
        contract.check("report", facts)


def test_manifests_have_a_schema_too(build, tmp_path):
    path = tmp_path / "artifacts/tiny/base/engines/onnxruntime-cpu/manifest.json"
    contract.check("manifest", json.loads(path.read_text()))
