"""Losses by layer, and predictions beside measurements, in every form of the report."""

import json
from pathlib import Path

import pytest

from drawplate.report.contract import check
from drawplate.report.facts import collect
from drawplate.report.heat import draw_losses
from drawplate.report.losses import losses
from drawplate.report.predicted import compare
from drawplate.report.render import html, markdown

PARTS = ("qkv", "o", "gate_up", "down")


def unit(layer, part, output_error):
    name = f"model.layers.{layer}.{part}"
    return {"unit": name, "layer": layer, "part": part, "bits": 4, "weights": 1000} | {
        "weight_error": 0.01,
        "output_error": output_error,
        "harm_nats": None,
    }


UNITS = [
    *(unit(i, part, 0.001 * (1 + i + 10 * (part == "down"))) for i in range(4) for part in PARTS),
    unit(0, "lm_head", 0.002) | {"unit": "lm_head", "layer": None, "bits": 8},
]


def add(build, lineage, **entries):
    """Write entries into a checkpoint's manifest."""
    row = next(r for r in build["variants"] if r["lineage"] == lineage)
    path = Path(row["chain"][-1]["path"]) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return row["name"]


def predicted(memory, result, minutes, measured=False):
    return {"memory_bytes": memory, "result_bytes": result, "minutes": minutes} | {
        "disk_bytes": result,
        "measured": measured,
    }


def test_the_worst_are_named_in_every_form(build):
    units = [u | {"harm_nats": 0.0123} if u["unit"].endswith("3.down") else u for u in UNITS]
    name = add(build, "base.int4", layer_losses=units)
    facts = collect(build)
    check("report", facts)
    told = {v["name"]: v["losses"] for v in facts["variants"]}
    assert told["float-onnxruntime-cpu"] is None
    assert told[name]["measure"] == "output_error"
    assert [u["unit"] for u in told[name]["worst"]] == [
        *(f"model.layers.{i}.down" for i in (3, 2, 1, 0)),
        "model.layers.3.gate_up",
    ]
    page, text = html(facts), markdown(facts)
    assert "model.layers.3.down, 4 bits: 0.014; expected rise of the loss 0.0123 nats" in page
    assert page.count('<div class="losses"><svg') == 1
    assert "Lost most in base.int4 (output error on calibration text): model.layers.3.down" in text


def test_without_data_units_are_ranked_by_their_weights():
    rows = [u | {"output_error": None} for u in UNITS]
    assert losses("base.int8", rows)["measure"] == "weight_error"
    assert losses("base.fp8", []) is None


def test_the_picture_has_a_cell_a_unit_and_bits_where_they_differ():
    same = draw_losses(losses("base.int4", UNITS))
    mixed = draw_losses(
        losses("base.int4", [u | {"bits": 8} if u["layer"] == 1 else u for u in UNITS])
    )
    assert same.count(">8</text>") == 0
    assert mixed.count(">8</text>") == len(PARTS)
    assert all(f">{part}</text>" in same for part in PARTS)
    first = {part.split('"')[0] for part in same.split('id="')[1:]}
    assert not first & {part.split('"')[0] for part in mixed.split('id="')[1:]}
    only_head = [u for u in UNITS if u["layer"] is None]
    assert draw_losses(losses("base.int4", only_head)) == ""


def test_a_loss_of_zero_can_be_drawn():
    rows = [u | {"output_error": 0.0} for u in UNITS]
    assert draw_losses(losses("base.int8", rows)).startswith("<svg")


def test_predictions_are_judged_by_a_factor_of_two():
    job = {"seconds": 100.0, "peak_rss_bytes": 10**9, "disk_bytes": 2 * 10**8}
    judged = compare(job | {"predicted": predicted(2.1 * 10**9, 10**8, 1.0)})
    assert judged["memory"] == {
        "predicted": 2.1 * 10**9,
        "measured": 10**9,
        "ratio": 2.1,
        "off": True,
    }
    assert (judged["disk"]["ratio"], judged["disk"]["off"]) == (0.5, False)
    assert (judged["seconds"]["ratio"], judged["seconds"]["off"]) == (0.6, False)
    assert judged["from_former_run"] is False


def test_what_is_small_or_was_not_measured_is_not_judged():
    job = {"seconds": 0.2, "peak_rss_bytes": 3 * 10**7, "disk_bytes": None}
    judged = compare(job | {"predicted": predicted(9 * 10**7, 10**8, 0.05)})
    assert not judged["memory"]["off"]
    assert not judged["seconds"]["off"]
    assert judged["disk"] is None
    assert compare(job | {"predicted": None})["memory"] is None


def test_every_form_says_how_good_predictions_were(build):
    assert collect(build)["predictions"] is None
    add(build, "base.int4", predicted=predicted(3 * 10**9, 110 * 10**6, 1.0, measured=True))
    facts = collect(build)
    check("report", facts)
    summary = facts["predictions"]
    assert summary["memory"] == {"judged": 1, "within": 0}
    assert summary["disk"] == {"judged": 1, "within": 1}
    assert summary["from_former_runs"] == 1
    (off,) = summary["off"]
    assert (off["stage"], off["name"], off["what"]) == ("quantize", "base.int4", "memory")
    assert off["ratio"] == pytest.approx(3.333)
    page, text = html(facts), markdown(facts)
    assert "memory of 0 out of 1, disk of 1 out of 1" in page
    assert "quantize base.int4, memory: 3,000\u00a0MB predicted, 900\u00a0MB measured" in text
