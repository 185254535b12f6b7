import json

import pytest

from drawplate.cli.main import main
from drawplate.report.facts import collect


@pytest.fixture
def report(build, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(collect(build)))
    return str(path)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([], "int4"),
        (["--max-ppl", "15"], "int8"),
        (["--max-ppl", "14.15"], "float"),
        (["--max-latency-ms", "5"], "int4"),
        (["--min-tokens-per-s", "100", "--min-retention", "0.99"], "int8"),
        (["--max-memory-mb", "300"], "int4"),
        (["--max-first-token-ms", "50"], "int4"),
    ],
)
def test_the_smallest_that_meets_the_limits(report, capsys, limits, expected):
    assert main(["pareto", "--report", report, *limits]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{expected}-onnxruntime-cpu  ") and out.count("\n") == 1


@pytest.mark.parametrize(
    "limits", [["--max-size-mb", "100"], ["--min-tokens-per-s", "220"], ["--max-ppl", "2"]]
)
def test_none_is_one_line_and_exit_1(report, capsys, limits):
    with pytest.raises(SystemExit) as caught:
        main(["pareto", "--report", report, *limits])
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert "none of 3 variants that passed the gate meets the limits" in error
    assert error.count("\n") == 1


def test_what_the_gate_stopped_is_chosen_only_if_asked_for_and_marked(report, capsys):
    limits = ["pareto", "--report", report, "--max-size-mb", "100"]
    with pytest.raises(SystemExit):
        main(limits)
    said = capsys.readouterr().err
    assert said.endswith(
        "loosen a limit, or give --stopped: 1 that the gate stopped would meet them\n"
    )
    assert main([*limits, "--stopped"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("int4rtn-onnxruntime-cpu  ")
    assert out.endswith("  (stopped by the gate)\n")
    assert main(["pareto", "--report", report, "--max-ppl", "15", "--stopped"]) == 0
    assert "(stopped" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["pareto", "--report", report, "--max-ppl", "2", "--stopped"])
    said = capsys.readouterr().err
    assert "none of 4 variants that were measured meets the limits" in said
    assert said.endswith(": loosen a limit\n")


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", '{"variants": 1}', '{"variants": [{}]}', '{"variants": [{"status": "ok"}]}'],
)
def test_what_is_no_report_is_one_line(tmp_path, capsys, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(SystemExit):
        main(["pareto", "--report", str(path)])
    said = capsys.readouterr().err
    assert said == (f"error: {path} is no report of a build: give a results/<model>/report.json\n")
    with pytest.raises(SystemExit):
        main(["pareto", "--report", str(tmp_path)])
    assert capsys.readouterr().err == f"error: {tmp_path} is a folder, no JSON file\n"


def test_without_a_report_it_says_how_to_get_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["pareto"])
    assert "build one: make artifacts" in capsys.readouterr().err
