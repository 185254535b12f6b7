"""From measurements to costs: which price belongs to them, and which load is the cheapest."""

import copy
import math
from pathlib import Path

import pytest
import yaml

from drawplate.cost.machine import api_price, machine_of
from drawplate.cost.measured import Point, cost_of_points, levels_of, points_of
from drawplate.cost.total import throughput

ROOT = Path(__file__).parents[3]
COST = yaml.safe_load((ROOT / "conf/cost/default.yaml").read_text())
HERE = {"cpu": "some", "cores": 2, "gpu": None}


def with_machine(name):
    return {**COST, "machine": name}


def spread(median):
    return {"median": median, "min": median, "max": median, "repeats": 3}


def performance(energy=None):
    def batch(decode, prefill):
        return {"decode_tokens_per_s": spread(decode), "prefill_tokens_per_s": spread(prefill)}

    return {
        "batch_8": batch(400.0, 1500.0),
        "batch_1": batch(200.0, 1400.0),
        "load_s": 1.0,
        "energy_j_per_token": energy,
    }


def test_the_price_counts_once_a_core_that_measured():
    entry = COST["hardware"]["cpu_server"]
    machine, reason = machine_of(COST, HERE, "cpu")
    assert reason is None and machine.units == 2 and machine.price == 2 * entry["price"]
    assert machine.load_watts == 2 * entry["load_watts"]


@pytest.mark.parametrize(
    ("cost", "measured", "target", "said"),
    [
        (with_machine(None), HERE, "cpu", "names no entry"),
        (COST, HERE, "sm89", "on a GPU"),
        (with_machine("rtx4090"), HERE, "cpu", "on the processor"),
        (with_machine("rtx4090"), HERE | {"gpu": "NVIDIA H100 PCIe"}, "sm90", "H100"),
        (COST, HERE | {"cores": None}, "cpu", "not known"),
    ],
)
def test_a_price_of_other_hardware_is_never_taken(cost, measured, target, said):
    machine, reason = machine_of(cost, measured, target)
    assert machine is None and said in reason


def test_a_gpu_is_priced_by_the_name_that_its_driver_gives():
    here = HERE | {"gpu": "NVIDIA GeForce RTX 4090"}
    machine, _ = machine_of(with_machine("rtx4090"), here, "sm89")
    assert machine.units == 1 and machine.price == COST["hardware"]["rtx4090"]["price"]


def test_batches_come_from_small_to_large_with_measured_energy_where_it_is():
    found = points_of(performance({"value": 0.1, "source": "rapl"}), 2.0)
    assert [p.at_once for p in found] == [1, 8]
    assert found[0].tokens_per_s == throughput(200.0, 1400.0, 2.0)
    assert math.isclose(found[0].load_watts, 20.0) and found[0].source == "rapl"
    # Measured at batch 1 alone: the same watts for the other, and it is said.
    assert math.isclose(found[1].load_watts, 20.0) and found[1].source == "rapl at batch 1"
    unread = points_of(performance(), 2.0)
    assert {(p.load_watts, p.source) for p in unread} == {(None, "assumed")}


def test_the_cheapest_load_counts_and_says_what_is_assumed():
    machine, _ = machine_of(COST, HERE, "cpu")
    found = cost_of_points(COST, machine, points_of(performance(), 2.0), 2.0)
    assert found["at_once"] == found["cheapest"] == 8
    assert found["per_million_tokens"] == min(p["per_million_tokens"] for p in found["loads"])
    assert found["assumptions"]["energy_source"] == "assumed"
    assert found["currency"] == COST["currency"]
    assert found["total"]["sum"] == pytest.approx(
        found["per_million_tokens"] * found["total"]["tokens"] / 1e6
    )
    assert found["api_per_million_tokens"] == pytest.approx(api_price(COST, 2.0))
    assert len(found["swings"]) == len(COST["sensitivity"]) - 1


def test_the_least_energy_may_be_at_another_load_than_the_least_cost():
    machine, _ = machine_of(COST, HERE, "cpu")
    hungry = Point(at_once=8, tokens_per_s=900.0, load_watts=30.0, source="rapl")
    frugal = Point(at_once=4, tokens_per_s=450.0, load_watts=12.0, source="rapl")
    found = cost_of_points(COST, machine, [frugal, hungry], 2.0)
    assert (found["cheapest"], found["least_energy"]) == (8, 4)


def test_a_load_with_failures_has_no_cost():
    level = {"concurrency": 1, "output_tokens_per_s": 80.0, "failed": 0}
    levels = [level, level | {"concurrency": 2, "failed": 3}, level | {"output_tokens_per_s": 0.0}]
    assert [(p.at_once, p.tokens_per_s) for p in levels_of(levels, 2.0)] == [(1, 240.0)]
    machine, _ = machine_of(COST, HERE, "cpu")
    assert cost_of_points(COST, machine, [], 2.0) is None


def test_an_encoder_pays_for_what_it_reads():
    values = copy.deepcopy(performance())
    for batch in ("batch_1", "batch_8"):
        values[batch]["decode_tokens_per_s"] = None
    assert [p.tokens_per_s for p in points_of(values, 2.0)] == [1400.0, 1500.0]
    assert api_price(COST, 2.0, encoder=True) == COST["api"]["input_per_million"]
