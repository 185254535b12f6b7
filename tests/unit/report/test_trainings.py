"""A training in a variant's chain shows in every form of the report."""

import json
from pathlib import Path

from drawplate.report.curve import draw_curve
from drawplate.report.facts import collect
from drawplate.report.render import html, markdown

TRAINING = {
    "curve": [[0, 4.0, None], [10, 3.5, 3.8], [20, 3.25, 3.4]],
    "held_out_loss_before_nats": 4.0,
    "held_out_loss_after_nats": 3.25,
    "improved": True,
    "steps": 20,
    "tokens": 20480,
    "tokens_per_s": 150.0,
}


def test_a_training_shows_with_its_curve(build) -> None:
    row = next(r for r in build["variants"] if r["lineage"] != "base")
    path = Path(row["chain"][-1]["path"]) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"training": TRAINING}))
    facts = collect(build)
    trainings = {v["name"]: v["trainings"] for v in facts["variants"]}
    assert trainings[row["name"]] == [{"name": row["lineage"], **TRAINING}]
    page = html(facts)
    assert f"Training of {row['lineage']}" in page
    assert "4 to 3.25 nats" in page
    assert "held out" in page
    assert "20,480 tokens" in markdown(facts)


def test_an_encoders_training_has_its_own_unit(build) -> None:
    row = next(r for r in build["variants"] if r["lineage"] != "base")
    path = Path(row["chain"][-1]["path"]) / "manifest.json"
    manifest = json.loads(path.read_text())
    training = {n: v for n, v in TRAINING.items() if not n.endswith("_nats")} | {
        "held_out_loss_before_cosine_distance": 0.04,
        "held_out_loss_after_cosine_distance": 0.0125,
        "unit": "cosine_distance",
    }
    format_ = manifest["format"] | {"activations": "int8 static"}
    path.write_text(json.dumps(manifest | {"training": training, "format": format_}))
    facts = collect(build)
    page = html(facts)
    for text in (page, markdown(facts)):
        assert "0.04 to 0.0125 cosine distance in 20 steps" in text
        assert "nats a token in" not in text
    assert "loss (cosine distance)" in draw_curve(TRAINING["curve"], "cosine_distance")


def test_two_curves_share_no_identifier() -> None:
    one, other = draw_curve(TRAINING["curve"]), draw_curve([[0, 2.0, None], [5, 1.0, 1.5]])
    first = {part.split('"')[0] for part in one.split('id="')[1:]}
    second = {part.split('"')[0] for part in other.split('id="')[1:]}
    assert first
    assert not first & second
