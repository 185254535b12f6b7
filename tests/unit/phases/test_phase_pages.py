"""Each phase's page: what it computes, and when it says to go on."""

import copy
import json
import math
from pathlib import Path

import pytest
import yaml

from drawplate.build.proof import proof_variant
from drawplate.build.shapes import Architecture, Model
from drawplate.cost.machine import machine_of
from drawplate.cost.measured import cost_of_points, levels_of
from drawplate.cost.total import throughput
from drawplate.errors import DrawplateError
from drawplate.phases.answer import Criterion, answer
from drawplate.phases.assess import assess, serving_bytes, speed
from drawplate.phases.page import write_page
from drawplate.phases.pilot import hours_to_see, pilot
from drawplate.phases.poc import poc
from drawplate.phases.production import fleet, fleet_cost, production
from drawplate.phases.samples import requests_to_see
from drawplate.phases.served import replica, rows_of

CONF = Path(__file__).parents[3] / "conf"
COST = yaml.safe_load((CONF / "cost/default.yaml").read_text())
PHASES = {p.stem: yaml.safe_load(p.read_text()) for p in (CONF / "phase").glob("*.yaml")}
SMALL = Model(
    sizes=Architecture(
        hidden=64, layers=2, mlp=128, heads=4, kv_heads=2, head_dim=16, vocabulary=1000, tied=True
    )
)
LARGE = Model(
    sizes=Architecture(
        hidden=8192, layers=80, mlp=28672, heads=64, kv_heads=8, head_dim=128, vocabulary=128256,
        tied=False, bytes_per_weight=2,
    )
)  # fmt: skip
HERE = {"cores": 2, "memory_bytes": 25e9, "bandwidth_bytes_per_s": 3.4e10}
BUILD = {
    "needs": [], "memory_bytes": 25e9, "free_bytes": 1e11, "obstacles": [], "sizes": "config.json",
}  # fmt: skip
LEVEL = {
    "concurrency": 1, "requests": 13, "failed": 0, "within": True, "requests_per_s": 1.3,
    "output_tokens_per_s": 83.0,
}  # fmt: skip


def package(**changed):
    machine, _ = machine_of(COST, {"cores": 2, "gpu": None}, "cpu")
    return {
        "variant": "int4-onnxruntime-cpu",
        "task": "causal-lm",
        "digest": "sha256:00",
        "levels": [LEVEL, {**LEVEL, "concurrency": 2, "within": False}],
        "load": {"prompt_tokens": 128, "new_tokens": 64, "first_token_ms": 1000, "seconds": 10},
        "served": {"requests": 16, "failed": 0},
        "cost": cost_of_points(COST, machine, levels_of([LEVEL], 2.0), 2.0),
        **changed,
    }


def state(page, words):
    return next(c["state"] for c in page["criteria"] if words in c["name"])


def test_a_page_goes_on_only_if_all_is_met_and_known():
    met = Criterion(name="a", value=1.0, limit=1.0)
    missed = Criterion(name="b", value=0.9, limit=1.0, least=True)
    unknown = Criterion(name="c", value=None, limit=1.0, why="never measured")
    assert answer("x", "", [met], [], "")["go_on"] is True
    assert answer("x", "", [met, missed, unknown], [], "")["go_on"] is False
    page = answer("x", "", [met, unknown], [], "")
    assert page["go_on"] is None and "never measured" in page["because"]


def test_memory_and_speed_of_an_estimate_by_hand():
    settings = PHASES["assess"] | {"memory_factor": 2.0, "bandwidth_share": 0.5}
    settings |= {"context_tokens": 10, "requests_at_once": 3, "compute_share": 0.25}
    # A token's keys and values: 2 x 2 layers x 2 heads x 16 x 2 bytes.
    step = SMALL.stored_bytes + 256 * 30
    assert serving_bytes(SMALL, settings) == 2.0 * step
    read, prefill = 3 * 0.5 * 1e9 / step, 0.25 * 1e12 / (2 * SMALL.matrix_parameters)
    assert read < prefill
    assert speed(SMALL, 1e9, 1e12, settings, 2.0) == throughput(read, prefill, 2.0)
    # Where arithmetic is short, it bounds decoding as well.
    slow = prefill / 1e6
    assert math.isclose(speed(SMALL, 1e9, 1e6, settings, 2.0), throughput(slow, slow, 2.0))


def test_what_does_not_fit_has_no_cost_and_what_has_no_engine_does_not_count():
    models = {"small": SMALL, "large": LARGE}
    page = assess(models, {"cpu": ["onnxruntime"]}, COST, PHASES["assess"], HERE, BUILD, "next")
    rows = {(row[0].split()[0], row[1]): row for row in page["tables"][0]["rows"]}
    assert rows["rtx4090", "large"][5:] == ["no", None, None, None, None, None]
    assert rows["cpu_server", "small"][4] == 25.0  # this machine's own memory, not the assumed
    assert page["go_on"] is True
    assert page["criteria"][0]["value"] == 1.0  # small on the processor
    nothing = assess({"large": LARGE}, {"cpu": ["x"]}, COST, PHASES["assess"], HERE, BUILD, "next")
    assert nothing["go_on"] is False
    lacking = BUILD | {"obstacles": ["memory: a lot"]}
    page = assess(models, {"cpu": ["x"]}, COST, PHASES["assess"], HERE, lacking, "next")
    assert page["go_on"] is False


def test_the_proof_is_the_variant_with_the_fewest_jobs_that_changes_the_base():
    class Step:
        def __init__(self, *parents):
            self.parents = dict(enumerate(parents))

    base = Step()
    rows = [
        {"name": "float", "lineage": "base", "not_run": None, "nodes": {"gate": Step(base)}},
        {"name": "long", "lineage": "base.a.b", "not_run": None,
         "nodes": {"gate": Step(Step(Step(base)))}},
        {"name": "short", "lineage": "base.b", "not_run": None, "nodes": {"gate": Step(Step(base))}},
        {"name": "away", "lineage": "base.c", "not_run": "no GPU", "nodes": {"gate": Step(base)}},
    ]  # fmt: skip
    assert proof_variant(rows, None) == "short"
    assert proof_variant(rows[:1], None) == "float"
    assert proof_variant(rows, "long") == "long"
    assert proof_variant([], None) is None
    with pytest.raises(DrawplateError, match="no variant"):
        proof_variant(rows, "lang")


def measured(**changed):
    spread = {"median": 200.0, "min": 190.0, "max": 210.0, "repeats": 3}
    machine, _ = machine_of(COST, {"cores": 2, "gpu": None}, "cpu")
    return {
        "name": "int4", "reason": None, "artifact": {"bytes": 1e8},
        "quality": {"retention": 0.97, "perplexity": {"value": 20.0}, "tasks": {}},
        "performance": {"batch_1": {"time_to_first_token_ms": spread}, "peak_rss_bytes": 4e8},
        "gate": {"passed": True, "reasons": []},
        "cost": cost_of_points(COST, machine, levels_of([LEVEL], 2.0), 2.0),
        **changed,
    }  # fmt: skip


def test_a_proof_goes_on_by_gate_quality_latency_and_cost():
    settings = copy.deepcopy(PHASES["poc"])
    settings["go_on"]["cost_over_api"] = 100.0
    page = poc(measured(), settings, "", "next", (8, 239.4))
    assert page["go_on"] is True and "239 tokens/s with 8 at once" in page["tables"][1]["note"]
    shut = measured(gate={"passed": False, "reasons": ["Perplexity rose."]})
    page = poc(shut, settings, "", "next")
    assert page["go_on"] is False and page["criteria"][0]["said"] == "Perplexity rose."
    worse = measured(quality={"retention": 0.9, "perplexity": None, "tasks": {}})
    assert state(poc(worse, settings, "", "next"), "quality") == "missed"
    unpriced = poc(measured(cost=None), settings, "other hardware", "next")
    assert unpriced["go_on"] is None and "other hardware" in unpriced["because"]
    settings["go_on"]["cost_over_api"] = 0.001
    assert state(poc(measured(), settings, "", "next"), "cost") == "missed"


def test_a_pilot_waits_as_long_as_its_share_needs():
    settings, load = PHASES["pilot"], PHASES["production"]
    needed = requests_to_see(settings["error_rate"], settings["regression"], 0.1, 0.05, 0.8)
    assert math.isclose(hours_to_see(settings, 0.5, 0.1), needed / 0.05 / 3600)
    page = pilot(replica(package(), "pilot"), settings, load, "next")
    busy = next(c["value"] for c in page["criteria"] if "utilisation" in c["name"])
    assert math.isclose(busy, 0.5 * 3 * 0.1 / 1.3)
    hurried = copy.deepcopy(settings)
    hurried["go_on"]["hours_at_most"] = 1
    assert pilot(replica(package(), "pilot"), hurried, load, "next")["go_on"] is False
    slow = package(levels=[{**LEVEL, "within": False}])
    assert pilot(replica(slow, "pilot"), settings, load, "next")["go_on"] is None


def test_a_small_share_is_not_written_as_none():
    settings = copy.deepcopy(PHASES["pilot"]) | {"share": 0.005}
    page = pilot(replica(package(), "pilot"), settings, PHASES["production"], "next")
    assert "take 0.5% of the requests" in page["question"]
    assert [row[0] for row in page["tables"][0]["rows"]][:2] == ["0.5%", "1%"]


def test_a_fleet_is_filled_to_its_limit_at_the_peak_and_never_beyond():
    settings = PHASES["production"]
    found = fleet(2.0, 1.3, settings)
    usable = 1.3 * settings["go_on"]["utilisation_at_most"]
    assert found.most == math.ceil(2.0 * settings["peak_over_mean"] / usable)
    assert (found.most - 1) * usable < 2.0 * settings["peak_over_mean"] <= found.most * usable
    assert found.least == math.ceil(2.0 / usable)
    assert fleet(0.001, 1.3, settings).most == settings["replicas_at_least"]


def test_a_fleet_costs_its_machines_and_is_held_against_the_same_tokens():
    tried, settings = replica(package(), "production"), PHASES["production"]
    wanted = fleet(0.5, tried.requests_per_s, settings)
    ours, api = fleet_cost(tried, wanted, 0.5)
    tokens = 0.5 * 192 * COST["years"] * 8760 * 3600
    assert math.isclose(api, tokens * tried.cost["api_per_million_tokens"] / 1e6)
    hardware = wanted.most * 2 * COST["hardware"]["cpu_server"]["price"]
    assert ours > hardware * (1 - COST["residual_share"])
    page = production(tried, settings, "next")
    assert state(page, "cost over") == ("met" if ours <= api else "missed")
    unpriced = production(replica(package(cost=None), "production"), settings, "next")
    assert unpriced["go_on"] is None


def test_an_encoder_answers_no_tokens():
    tried = replica(package(task="encoder"), "production")
    tokens = 0.5 * 128 * COST["years"] * 8760 * 3600
    _, api = fleet_cost(tried, fleet(0.5, 1.3, PHASES["production"]), 0.5)
    assert math.isclose(api, tokens * tried.cost["api_per_million_tokens"] / 1e6)
    assert "95 % of answers within, ms" in dict(rows_of(tried))


def test_without_an_image_the_last_phases_say_how_to_ask_for_one():
    with pytest.raises(DrawplateError, match=r"package\.build=true"):
        replica(None, "pilot")


def test_a_page_stands_in_three_forms_and_escapes_what_it_shows(tmp_path):
    page = production(replica(package(variant="<b>"), "production"), PHASES["production"], "next")
    named = {"model": "m", "experiment": "e", "created_at": "2026", "git_commit": None}
    files = write_page({**page, **named}, tmp_path)
    assert [f.name for f in files] == ["production.json", "production.md", "production.html"]
    assert json.loads(files[0].read_text())["phase"] == "production"
    html = files[2].read_text()
    assert "<b>" not in html and "&lt;b&gt;" in html and "<script" not in html
    for line in files[1].read_text().splitlines():
        assert not line.startswith("| ") or line.rstrip().endswith("|")
