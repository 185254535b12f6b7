"""Which step lost how much, out of the variants that an experiment measured."""

import pytest

from drawplate.report.waterfall import waterfall


def variant(lineage: str, perplexity: float | None, engine: str = "onnxruntime") -> dict:
    quality = None
    if perplexity is not None:
        quality = {"perplexity": {"value": perplexity, "ci95": [1, 2]}, "tasks": {}}
    return {
        "name": f"{lineage}/{engine}",
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
