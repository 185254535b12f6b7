"""Results of `scripts/gpu_check.py` beside a build's own."""

import json

import pytest

from drawplate.build.gpu_checks import FOLDER, digests
from drawplate.errors import DrawplateError
from drawplate.report.facts import collect
from drawplate.report.render import html, markdown


def spread(median: float) -> dict:
    return {"median": median, "min": 0.9 * median, "max": 1.1 * median, "repeats": 5}


def check(**changes) -> dict:
    rate = {"decode_tokens_per_s": spread(210.0)}
    record = {
        "schema": 1,
        "measured_on": {"gpu": "A stand-in, no GPU", "torch": "2.13.0", "host": "Linux"},
        "command": "python scripts/gpu_check.py --json gpu.json",
        "failed": ["quantize"],
        "results": {
            "decoder": {"batch_1": rate, "batch_8": rate},
            "bandwidth_bytes_per_s": spread(900e9),
            "products_flops": {"float16": spread(160e12)},
            "tensorrt": {"library": "tensorrt_rtx 1.7.1.116", "agrees": True},
        },
    }
    return record | changes


@pytest.fixture
def checked(build, tmp_path, monkeypatch):
    """A function that puts a result where a report looks for it; the report's facts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / FOLDER).mkdir(parents=True)

    def make(record: dict) -> dict:
        (tmp_path / FOLDER / "one.json").write_text(json.dumps(record))
        return collect({**build, "gpu_checks": digests(tmp_path)})

    return make


def test_the_machine_is_named_and_what_failed_is_said(checked):
    facts = checked(check())
    for text in (html(facts), markdown(facts)):
        assert "A stand-in, no GPU" in text
        assert "210 (189 to 231)" in text
        assert "900 GB/s" in text
        assert "160.0 TFLOP/s" in text
        assert "tensorrt_rtx 1.7.1.116" in text
        assert "quantize" in text.split("Checked on GPUs")[1].split("</table>")[0]


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("decoder", "210 (189 to 231)"),
        ("bandwidth_bytes_per_s", "900 GB/s"),
        ("products_flops", "160.0 TFLOP/s"),
        ("tensorrt", "agrees"),
    ],
)
def test_one_kind_of_work_that_failed_hides_none_of_the_others(name, gone, checked):
    whole = check()["results"]
    results = {**whole, name: {"failed": "RuntimeError: CUDA error"}}
    facts = checked(check(results=results, failed=[name]))
    figures = {"210 (189 to 231)", "900 GB/s", "160.0 TFLOP/s", "agrees"}
    for text in (html(facts), markdown(facts)):
        section = text.split("Checked on GPUs")[1]
        assert {figure for figure in figures if figure in section} == figures - {gone}
        assert name in section


def test_a_report_without_checks_has_no_such_section(build):
    facts = collect(build)
    assert facts["gpu_checks"] == []
    assert "Checked on GPUs" not in html(facts) + markdown(facts)


@pytest.mark.parametrize("record", [{}, check(schema=2), check(results={}), check(results=[]), []])
def test_another_file_is_refused_by_its_name(record, checked):
    with pytest.raises(DrawplateError, match=r"one\.json is no result of scripts/gpu_check\.py"):
        checked(record)


def test_what_is_no_json_is_refused_when_the_plan_is_made(tmp_path):
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "bad.json").write_text('{"x":1')
    with pytest.raises(DrawplateError, match=r"bad\.json is no JSON: write it anew with scripts"):
        digests(tmp_path)


def test_a_new_file_has_another_digest(checked, tmp_path):
    checked(check())
    before = digests(tmp_path)
    checked(check(failed=[]))
    assert before.keys() == digests(tmp_path).keys() == {"one.json"}
    assert before != digests(tmp_path)
