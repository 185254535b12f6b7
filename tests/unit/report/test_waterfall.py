"""Which step lost how much, out of the variants that an experiment measured."""

import pytest

from drawplate.report.facts import collect
from drawplate.report.render import html, markdown
from drawplate.report.waterfall import waterfall, waterfall_hint


def variant(lineage: str, perplexity: float | None, engine: str = "onnxruntime") -> dict:
    quality = None
    if perplexity is not None:
        quality = {"perplexity": {"value": perplexity, "ci95": [1, 2]}, "tasks": {}}
    return {
        "name": f"{lineage}/{engine}",
        "recipe": lineage.removeprefix("base.").replace(".", "-"),
        "lineage": lineage,
        "engine": engine,
        "target": "cpu",
        "quality": quality,
    }


def test_each_measured_step_stands_with_its_own_change() -> None:
    chain = [
        variant("base.w75.kd.int4", 24.0),
        variant("base", 20.0),
        variant("base.w75", 30.0),
        variant("base.w7", 99.0),
        variant("base", 21.0, "openvino"),
    ]
    rows = waterfall(chain[0], chain)
    assert [row["steps"] for row in rows] == ["base", "w75", "kd.int4"]
    assert [row["quality"] for row in rows] == [20.0, 30.0, 24.0]
    assert rows[0]["change"] is None
    assert [row["change"] for row in rows[1:]] == pytest.approx([0.5, -0.2])


def test_what_was_not_measured_is_passed_over() -> None:
    chain = [variant("base", None), variant("base.w75", 30.0), variant("base.w75.kd", 24.0)]
    assert [row["steps"] for row in waterfall(chain[2], chain)] == ["base.w75", "kd"]
    assert waterfall(chain[1], chain) == []


def test_an_encoders_measure_changes_by_a_difference() -> None:
    rows = [variant("base", None), variant("base.int8", None)]
    for row, value in zip(rows, (0.9, 0.85), strict=True):
        row["quality"] = {
            "perplexity": None,
            "tasks": {"sts": {"accuracy": value, "ci95": [0.8, 0.95]}},
        }
    assert waterfall(rows[1], rows)[1]["change"] == pytest.approx(-0.05)


def test_a_chain_whose_parts_are_no_variants_says_what_to_add() -> None:
    chain = [
        variant("base", 20.0),
        variant("base.w75.kd.int4", 24.0),
        variant("base.w75", 30.0, "openvino"),
    ]
    assert waterfall_hint(chain[1], chain) == (
        "To see what each step lost, add to variants, on onnxruntime: w75/onnxruntime, "
        "a recipe that ends at base.w75.kd."
    )
    chain += [variant("base.w75", None), variant("base.w75.kd", 25.0)]
    assert waterfall_hint(chain[1], chain) is None  # one failed, but it is a variant


def test_one_step_alone_has_nothing_to_add() -> None:
    rows = [variant("base.int4", 24.0), variant("base", 20.0)]
    assert [waterfall_hint(row, rows) for row in rows] == [None, None]


def test_the_hint_stands_in_every_form_of_the_report(build) -> None:
    build["variants"][2]["lineage"] = "base.w75.int4"
    facts = collect(build)
    assert facts["variants"][1]["quality"]["waterfall_hint"] is None
    said = "add to variants, on onnxruntime: a recipe that ends at base.w75."
    for form in (markdown(facts), html(facts)):
        assert form.count(said) == 1
