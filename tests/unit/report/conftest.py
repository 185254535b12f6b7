"""A small finished build on disk, by hand: what the stages leave behind, and the report's job."""

import json
import math
from pathlib import Path

import pytest
import yaml

from drawplate.build.job import digest_of_result

COST = Path(__file__).parents[3] / "conf/cost/default.yaml"
TASKS = {"arc_easy": 500, "piqa": 500}
STAGES = ("verify", "evaluate", "benchmark", "gate")


def spread(median, share=0.04, repeats=5):
    low, high = median * (1 - share), median * (1 + share)
    return {"median": median, "min": low, "max": high, "repeats": repeats}


def variant(recipe, engine, size_mb, ppl, speed, *, bits=4.5, kl=0.01, accuracy=0.55, fails=()):
    return {
        "recipe": recipe, "engine": engine, "size_mb": size_mb, "ppl": ppl, "speed": speed,
        "bits": bits, "kl": kl, "accuracy": accuracy, "fails": fails,
    }  # fmt: skip


SMALL = (
    variant("float", "onnxruntime", 543.9, 14.10, 57.0, bits=32.0, kl=0.0),
    variant("int8", "onnxruntime", 160.0, 14.19, 150.0, bits=8.5),
    variant("int4", "onnxruntime", 104.0, 15.20, 210.0, kl=0.085, accuracy=0.53),
    variant("int4rtn", "onnxruntime", 92.9, 21.10, 225.0, kl=0.54, fails=("ppl is 49 % higher.",)),
)


def performance(v):
    return {
        "batch_1": {
            "decode_tokens_per_s": spread(v["speed"]),
            "prefill_tokens_per_s": spread(v["speed"] * 6),
            "time_to_first_token_ms": spread(9000 / v["speed"]),
        },
        "batch_8": {
            "decode_tokens_per_s": spread(v["speed"] * 2.6),
            "prefill_tokens_per_s": spread(v["speed"] * 6.4),
            "time_to_first_token_ms": spread(60000 / v["speed"]),
        },
        "load_s": 0.34,
        "peak_rss_bytes": int(v["size_mb"] * 1.7e6 + 9e7),
        "peak_gpu_bytes": None,
        "roofline_fraction": 0.52,
        "energy_j_per_token": None,
    }


def comparison(v, base):
    if v is base:
        return {"against": None, "ratio": None}
    ratio = {"decode_tokens_per_s": spread(v["speed"] / base["speed"])}
    ratio["prefill_tokens_per_s"] = None
    return {"against": performance(base), "ratio": {"batch_1": ratio}}


def evaluation(v):
    low, high = v["ppl"] * 0.95, v["ppl"] * 1.05
    text = {"value": v["ppl"], "ci95": [low, high], "tokens": 30690, "windows": 30}
    text |= {"nll_per_window": [math.log(v["ppl"])] * 30, "window_tokens": 1024}
    whole = {"value": v["ppl"], "ci95": [low, high], "tokens": 61380, "text": "factbook, docs"}
    task = {"accuracy": v["accuracy"], "accuracy_norm": None}
    return {
        "source": "engine",
        "perplexity": {"factbook": text, "docs": text},
        "perplexity_all": whole,
        "kl_to_base": {"mean": v["kl"], "ci95": [v["kl"] * 0.9, v["kl"] * 1.1]}
        | {"top1_agreement": 0.9},
        "tasks": {
            name: task | {"ci95": [v["accuracy"] - 0.04, v["accuracy"] + 0.04], "examples": n}
            | {"correct": [1, 0] * (n // 2)}
            for name, n in TASKS.items()
        },
        "artifact": {},
        "data": {"texts": "same"},
    }  # fmt: skip


def verdict(v, base):
    change = {"relative_change": v["ppl"] / base["ppl"] - 1, "windows": 60}
    change["ci95"] = [change["relative_change"] * 0.9, change["relative_change"] * 1.1]
    paired = {"perplexity": change, "retention": base["ppl"] / v["ppl"]}
    paired["tasks"] = {
        n: {"difference": v["accuracy"] - base["accuracy"], "ci95": [-0.05, 0.01], "examples": 500}
        for n in TASKS
    }
    measure = {"value": change["relative_change"], "ci95": change["ci95"], "limit": 0.1}
    measure |= {"passed": not v["fails"], "sentence": "Perplexity's rise over the base is told."}
    return {
        "passed": not v["fails"],
        "reasons": list(v["fails"]),
        "measures": {} if v is base else {"perplexity_increase": measure},
        "paired": None if v is base else paired,
    }


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def record(stage, name, result):
    return {
        "stage": stage, "name": name, "key": {"config": {"limit": 500}, "code": "ab" * 32},
        "tools": {"numpy": "2.3.1"}, "command": f"python scripts/{stage}.py --config x.json",
        "seconds": 42.0, "peak_rss_bytes": 500_000_000, "result": result,
        "result_sha256": digest_of_result(result),
    }  # fmt: skip


def manifest(kind, name, v, command):
    dtype = {"float": "float32"}.get(v["recipe"], v["recipe"])
    path, size = "model.onnx", int(v["size_mb"] * 1e6)
    return {
        "schema": 1, "kind": kind, "name": name, "digest": f"{size:064x}",
        "files": [{"path": path, "sha256": f"{size:064x}", "bytes": size}],
        "parent": None, "step": {"kind": "compile", "config": {}}, "key": {"config": {"bits": 4}},
        "tools": {"onnxruntime": "1.32.0"}, "command": command,
        "format": {"weights_dtype": dtype, "bits_per_weight": v["bits"], "group_size": 32,
                   "quantization_method": "gptq", "tensors": {dtype: size}},
        "created_at": "2026-01-01T00:00:00+00:00", "seconds": 61.0, "peak_rss_bytes": 900_000_000,
        "peak_gpu_bytes": None,
    }  # fmt: skip


def row(root, v, index, base_name):
    name = f"{v['recipe']}-{v['engine']}-cpu"
    lineage = "base" if v["recipe"] == "float" else f"base.{v['recipe']}"
    checkpoint = root / "artifacts/tiny" / lineage
    places = {s: root / "results/tiny/variants" / name / s for s in STAGES}
    places["engine"] = checkpoint / "engines" / f"{v['engine']}-cpu"
    key = {s: f"{index:02x}{i:014x}" for i, s in enumerate(("engine", *STAGES))}
    stamps = {s: str(folder / f"{key[s]}.key") for s, folder in places.items()}
    stamps["checkpoint"] = str(checkpoint / f"{lineage.encode().hex()[:16]:0<16}.key")
    return {
        "name": name, "recipe": v["recipe"], "lineage": lineage, "engine": v["engine"],
        "target": "cpu", "parent": None if lineage == "base" else base_name,
        "base": None if lineage == "base" else base_name,
        "engine_path": str(places["engine"]),
        "chain": [{"stage": "quantize", "name": lineage, "path": str(checkpoint),
                   "stamp": stamps["checkpoint"]}],
        **{s: str(places[s]) for s in STAGES}, "stamps": stamps,
        "ancestors": [str(root / f"artifacts/tiny/data/{'1' * 16}.key")],
    }  # fmt: skip


def make_build(root: Path, variants=SMALL, notes="Dequantized from Q4_1: 4-bit results mislead."):
    """Write a build of the given variants below `root`, return the report's job config."""
    rows = []
    for index, v in enumerate(variants):
        base = next(b for b in variants if b["recipe"] == "float")
        r = row(root, v, index, f"float-{base['engine']}-cpu")
        rows.append(r)
        results = {
            "verify": {"max_abs_difference": 0.01, "mean_kl": 1e-6, "top1_agreement": 1.0},
            "evaluate": evaluation(v),
            "benchmark": {"performance": performance(v), **comparison(v, base)},
            "gate": verdict(v, base),
        }
        for stage, result in results.items():
            write(Path(r[stage]) / f"{stage}.json", record(stage, r["name"], result))
        compiled = "python scripts/compile.py --config y.json"
        write(
            Path(r["engine_path"]) / "manifest.json",
            manifest("engine", f"{r['lineage']}/{v['engine']}-cpu", v, compiled),
        )
        made = manifest("checkpoint", r["lineage"], v, "python scripts/quantize.py")
        made["base"] = {"source": "pypi:llm-tiny==0.1", "license": "Apache-2.0", "notes": notes}
        made["base"]["parameters"] = 134515008
        write(Path(r["chain"][-1]["path"]) / "manifest.json", made)
        for stamp in r["stamps"].values():
            Path(stamp).touch()
    cpu = {"cpu": "Xeon @ 2.1 GHz", "cores": 2, "memory_bytes": 25_000_000_000}
    machine = cpu | {"memory_bandwidth_bytes_per_s": 4.1e10, "gpu": None}
    write(root / "results/machine/machine.json", record("machine", "machine", machine))
    return {
        "experiment": "tiny", "model": "tiny", "git_commit": "0076b52" + "0" * 33,
        "invocation": "snakemake --profile cpu --config experiment=tiny --",
        "base": {"name": "tiny-base", "path": str(root / "artifacts/tiny/base")},
        "machine": str(root / "results/machine"), "track": None,
        "failures": str(root / "results/tiny/failures"), "variants": rows,
        "cost": yaml.safe_load(COST.read_text()),
    }  # fmt: skip


def break_at(config, name, stage, reason="it broke", *, failed=True):
    """Take away a variant's results from a stage on, with a failure file or without."""
    r = next(r for r in config["variants"] if r["name"] == name)
    order = ["checkpoint", "engine", *STAGES]
    for later in order[order.index(stage) :]:
        Path(r["stamps"][later]).unlink(missing_ok=True)
    if failed:
        key = Path(r["stamps"][stage]).stem
        note = {"stage": stage, "name": name, "key": key, "reason": reason}
        write(Path(config["failures"]) / f"{stage}--{name}.json", note)


@pytest.fixture
def build(tmp_path):
    return make_build(tmp_path)


@pytest.fixture
def breaker():
    return break_at


@pytest.fixture
def builder():
    return make_build
