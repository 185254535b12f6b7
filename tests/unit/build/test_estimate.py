"""Predictions from sizes alone, held against architectures of transformers and recorded runs."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from recorded_runs import RECORDED, RECORDED_TINY, RECORDED_TREE, RECORDED_VARIANTS, STORED, TINY
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from drawplate.build import workflow
from drawplate.build.after import after_step
from drawplate.build.costs import cost
from drawplate.build.estimate import disk_bytes, known_sizes, needs, obstacles, predictions
from drawplate.build.hardware import usable_memory_bytes
from drawplate.build.shapes import Model, architecture_of, guessed
from drawplate.build.work import Work
from drawplate.build.workflow import make_plan, open_plan
from drawplate.cli.main import main

ROOT = Path(__file__).parents[3]
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
SHAPES = {
    "llama": LLAMA_8B,
    "qwen2": {"num_hidden_layers": 4, "tie_word_embeddings": True},
    "qwen3": {"num_hidden_layers": 4},
    "mixtral": {"num_hidden_layers": 2},
    "phi3": {"num_hidden_layers": 4},
    "gemma2": {"num_hidden_layers": 4},
    "gpt2": {},
    "opt": {},
    "bert": {},
    "roberta": {},
    "mpnet": {},
}


def plan_of(experiment, *overrides):
    return make_plan({"experiment": experiment, "overrides": list(overrides)}, ROOT)


def rows_of(experiment, root, *overrides):
    """Needs of an experiment's jobs; of smollm2 those of the variants that were recorded."""
    recorded = [RECORDED_VARIANTS] if experiment == "smollm2" else []
    plan = plan_of(experiment, *recorded, *overrides)
    rows = needs(plan, known_sizes(plan, root)[0], root)
    return {f"{row.stage} {row.name}": row for row in rows}


@pytest.mark.parametrize("family", SHAPES)
def test_parameters_are_those_of_transformers(family):
    settings = {k: v for k, v in SHAPES[family].items() if k not in ("architectures", "dtype")}
    config = AutoConfig.for_model(
        family, **{k: v for k, v in settings.items() if k != "model_type"}
    )
    encoder = family in ("bert", "roberta", "mpnet")
    with torch.device("meta"):
        model = (AutoModel if encoder else AutoModelForCausalLM).from_config(config)
    counted = sum(parameter.numel() for parameter in model.parameters())
    sizes = architecture_of(json.loads(config.to_json_string(use_diff=False)))
    # Norms within heads and the like are left out.
    assert sizes.parameters == pytest.approx(counted, rel=1e-4)


@pytest.mark.parametrize("experiment", RECORDED)
def test_memory_is_within_a_factor_of_two_of_recorded_runs(experiment, tmp_path):
    rows = rows_of(experiment, tmp_path)
    ratios = {
        name: rows[name].memory_bytes / 1e6 / memory
        for name, (memory, _) in RECORDED[experiment].items()
    }
    assert {name: r for name, r in ratios.items() if not 0.5 < r < 2} == {}


def test_memory_of_a_tiny_model_is_that_of_its_runtimes(tmp_path):
    overrides = [f"base.architecture.{name}={size}" for name, size in TINY.items()]
    rows = rows_of("smollm2", tmp_path, *overrides)
    ratios = {n: rows[n].memory_bytes / 1e6 / memory for n, memory in RECORDED_TINY.items()}
    assert {name: r for name, r in ratios.items() if not 0.5 < r < 2} == {}


@pytest.mark.parametrize(("job", "overrides"), RECORDED_TREE)
def test_memory_of_pruning_and_training_is_too(job, overrides, tmp_path):
    tree = "variants=[float/onnxruntime,distilled/onnxruntime]"
    rows = rows_of("smollm2", tmp_path, tree, *overrides)
    (row,) = (row for name, row in rows.items() if name.startswith(job) and "int4" not in name)
    assert 0.5 < row.memory_bytes / 1e6 / RECORDED_TREE[job, overrides] < 2


@pytest.mark.parametrize("experiment", RECORDED)
def test_time_of_long_jobs_is_within_a_factor_of_three(experiment, tmp_path):
    rows = rows_of(experiment, tmp_path)
    ratios = {
        name: rows[name].minutes * 60 / seconds
        for name, (_, seconds) in RECORDED[experiment].items()
        if seconds >= 10
    }
    assert {name: r for name, r in ratios.items() if not 1 / 3 < r < 3} == {}


@pytest.mark.parametrize("experiment", STORED)
def test_disk_of_results_is_within_a_tenth_of_recorded_ones(experiment, tmp_path):
    rows = rows_of(experiment, tmp_path)
    for name, megabytes in STORED[experiment].items():
        assert rows[name].result_bytes / 1e6 == pytest.approx(megabytes, rel=0.1), name


def test_declared_sizes_are_those_of_the_declared_parameters():
    for experiment in RECORDED:
        plan = plan_of(experiment)
        sizes = architecture_of(plan.base["architecture"])
        assert sizes.parameters == plan.base["parameters"]
        assert {"architecture", "parameters"}.isdisjoint(plan.of("base")[0].key["config"])


def test_steps_change_sizes_and_bits():
    base = Model(sizes=architecture_of(LLAMA_8B))
    pruned = after_step(
        base, "prune", {"mlp_share": 0.25, "kv_group_share": 0.5, "layers": 2, "multiple_of": 32}
    )
    sizes = pruned.sizes
    assert (sizes.mlp, sizes.kv_heads, sizes.heads, sizes.layers) == (10752, 4, 16, 30)
    assert sizes.hidden == base.sizes.hidden
    assert after_step(pruned, "distill", {}) == pruned
    int4 = after_step(
        base, "quantize", {"bits": 4, "group_size": 32, "symmetric": False, "head_bits": 16}
    )
    assert int4.bits == 4.75
    assert base.stored_bytes == 2 * 8_030_261_248
    head_and_table = 2 * 128256 * 4096 * 2
    layers = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336) * 4.75 / 8
    assert int4.stored_bytes == head_and_table + layers


def test_training_keeps_seven_copies_of_the_weights_on_disk():
    model = Model(sizes=architecture_of(LLAMA_8B | {"dtype": "float32"}))
    for stage, config in (("distill", {}), ("recover", {"method": "full"})):
        needed = cost(stage, Work(config=config, model=model, result=model, base=model))
        copies = (needed.result_bytes + needed.scratch_bytes) / model.stored_bytes
        assert copies == pytest.approx(7, rel=0.01)
        assert needed.memory_bytes > 4 * model.stored_bytes
    adapters = cost(
        "recover", Work(config={"method": "lora"}, model=model, result=model, base=model)
    )
    assert adapters.memory_bytes < 2 * model.stored_bytes
    assert adapters.scratch_bytes < 0.1 * model.stored_bytes


def test_a_former_run_of_the_same_config_is_preferred(tmp_path):
    plan = plan_of("minilm")
    (node,) = plan.of("data")
    record = {"key": {"config": node.config}, "seconds": 66.0, "peak_rss_bytes": 5_000_000_000}
    path = tmp_path / node.record
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    row = rows_of("minilm", tmp_path)["data data"]
    assert (row.measured, row.memory_bytes, row.minutes) == (True, 5_000_000_000, 1.1)
    path.write_text(json.dumps(record | {"key": {"config": {"other": 1}}}))
    assert rows_of("minilm", tmp_path)["data data"].measured is False


def test_where_sizes_come_from(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    override = ("base=folder", f"base.source.path={model}", f"base.source.sha256={'0' * 64}")
    plan = plan_of("smollm2", *override)
    assert known_sizes(plan, tmp_path)[0] is None
    plan.base["parameters"] = 10**9
    sizes, words = known_sizes(plan, tmp_path)
    assert sizes.parameters == pytest.approx(10**9, rel=0.1)
    assert words == "a guess from base.parameters"
    (model / "config.json").write_text(json.dumps(LLAMA_8B))
    sizes, words = known_sizes(plan, tmp_path)
    assert (sizes.parameters, words) == (8_030_261_248, str(model / "config.json"))
    plan.base["source"] = {"kind": "hub"}
    sizes, words = known_sizes(plan, tmp_path, fetched=LLAMA_8B)
    assert words == "the hub's config.json"


def test_a_guess_has_the_wanted_number_of_parameters():
    for parameters in (10**8, 8 * 10**9):
        assert guessed(parameters).parameters == pytest.approx(parameters, rel=0.15)


def test_what_cannot_fit_is_named(tmp_path):
    rows = list(rows_of("smollm2", tmp_path).values())
    assert obstacles(rows, 64 * 2**30, 10**12) == []
    (line,) = obstacles(rows, 64 * 2**30, 10**9)
    assert line.startswith("disk: 3.0 GiB needed")
    lines = obstacles(rows, 3 * 2**30, 10**12)
    assert lines[0].startswith("memory: evaluate float-openvino-cpu needs 3.7 GiB, 3.0 are here")
    assert disk_bytes(rows) < sum(row.disk_bytes for row in rows)


def test_mapped_files_do_not_count_as_needed(tmp_path):
    row = rows_of("smollm2", tmp_path)["quantize base.int4"]
    assert row.least_memory_bytes == pytest.approx(row.memory_bytes - 538e6, abs=1e6)


def test_every_prediction_is_plain_data(tmp_path):
    plan = plan_of("smollm2")
    rows = needs(plan, known_sizes(plan, tmp_path)[0], tmp_path)
    told = predictions(rows, plan, tmp_path)
    assert json.loads(json.dumps(told)) == told
    assert {"memory_bytes", "disk_bytes", "minutes", "measured"} <= told[
        plan.nodes[0].digest
    ].keys()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of what a plan reads, and a folder with the config.json of a large model, no weights."""
    for name in ("conf", "scripts", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "config.json").write_text(json.dumps(LLAMA_8B))
    monkeypatch.chdir(tmp_path)
    return tmp_path


LARGE = [
    "base=folder",
    "base.source.path=large",
    f"base.source.sha256={'0' * 64}",
    "base.source.license=MIT",
]


def test_eight_billion_are_answered_without_weights(checkout, capsys, monkeypatch):
    monkeypatch.setattr("drawplate.cli.plan.usable_memory_bytes", lambda: 24 * 2**30)
    words = [word for override in LARGE for word in ("--override", override)]
    assert main(["plan", *words]) == 2
    said = capsys.readouterr().out
    assert "sizes: 8,030.3 million parameters in 32 layers of 4096, from large/config.json" in said
    assert "this machine cannot: memory: compile base" in said
    assert not (checkout / "artifacts").exists()


def test_a_build_is_refused_at_the_door_unless_told_otherwise(checkout, capsys, monkeypatch):
    monkeypatch.setattr(workflow, "usable_memory_bytes", lambda: 24 * 2**30)
    monkeypatch.setattr(workflow, "_kept", [])
    config = {"experiment": "smollm2", "overrides": LARGE}
    with pytest.raises(SystemExit):
        open_plan(config)
    said = capsys.readouterr().err
    assert "this machine cannot build it: memory: compile" in said
    assert "--config check=off" in said
    assert not (checkout / ".drawplate" / "plan").exists()
    plan = open_plan(config | {"check": "off"})
    assert "check=off" in plan.invocation
    with pytest.raises(SystemExit):
        open_plan({"experiment": "smollm2", "check": "maybe"})
    assert "write check=on or check=off" in capsys.readouterr().err


def test_refuted_settings_are_refused_by_plan_and_build(checkout, capsys, monkeypatch):
    monkeypatch.setattr(workflow, "_kept", [])
    overrides = [*LARGE, "++distill.top_k=200000"]
    said = "distill base.w75.kd: top_k 200000 is more than the 128256 tokens of base"
    with pytest.raises(SystemExit):
        main(["plan", *(word for override in overrides for word in ("--override", override))])
    assert said in capsys.readouterr().err
    config = {"experiment": "smollm2", "overrides": overrides}
    with pytest.raises(SystemExit):
        open_plan(config)
    assert f"{said} (sizes from large/config.json): lower top_k" in capsys.readouterr().err
    assert open_plan(config | {"check": "off"}).nodes


def test_limits_of_control_groups_count(tmp_path):
    groups, mount = tmp_path / "cgroup", tmp_path / "mount"
    unlimited = usable_memory_bytes(tmp_path / "none", mount)
    group = mount / "a" / "b"
    group.mkdir(parents=True)
    groups.write_text("0::/a/b\n")
    (group / "memory.max").write_text("max\n")
    assert usable_memory_bytes(groups, mount) == unlimited
    (mount / "a" / "memory.max").write_text("1000000\n")  # of the group above
    assert usable_memory_bytes(groups, mount) == 1_000_000
    older = mount / "memory" / "job"
    older.mkdir(parents=True)
    groups.write_text("5:cpu:/\n4:memory:/job\n")
    (older / "memory.limit_in_bytes").write_text("2000\n")
    assert usable_memory_bytes(groups, mount) == 2000


@pytest.mark.parametrize(
    "odd",
    [
        {"intermediate_size": [128, 128]},
        {"intermediate_size": 128.5},
        {"num_key_value_heads": "2"},
        {"head_dim": -4},
        {"text_config": "x"},
        {"num_local_experts": "8"},
    ],
)
def test_sizes_that_are_no_counts_are_not_known(odd):
    config = {"model_type": "llama", **TINY}
    assert architecture_of(config) is not None
    assert architecture_of(config | odd) is None
