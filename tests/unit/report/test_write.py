import csv
import json
import re
import xml.etree.ElementTree as ElementTree

from drawplate.report.facts import collect
from drawplate.report.flat import metrics
from drawplate.report.labels import Label, place, shared_area
from drawplate.report.render import html, markdown, picture
from drawplate.report.table import table
from drawplate.report.write import FILES, write_report


def test_every_file_is_written_whole(build, tmp_path):
    folder = tmp_path / "results/tiny"
    write_report(collect(build), folder)
    assert {p.name for p in folder.iterdir() if p.is_file()} == set(FILES)
    report = json.loads((folder / "report.json").read_text())
    assert [v["name"] for v in report["variants"]] == [r["name"] for r in build["variants"]]
    flat = json.loads((folder / "metrics.json").read_text())
    assert flat["int4-onnxruntime-cpu.perplexity"] == 15.2
    assert all(isinstance(value, float) for value in flat.values())
    rows = list(csv.DictReader((folder / "pareto.csv").read_text().splitlines()))
    assert [r["on_front"] for r in rows] == ["1", "1", "1", "0"]


def test_what_was_not_measured_is_absent_from_the_metrics(build):
    flat = metrics(collect(build))
    assert not [name for name in flat if "energy" in name or "gpu" in name]


def test_the_page_needs_nothing_from_outside(build):
    page = html(collect(build))
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', page)
    assert "<script" not in page and "@import" not in page
    assert "Dequantized from Q4_1" in page
    for row in build["variants"]:
        assert f'id="variant-{row["name"]}"' in page and f"-- {row['name']}" in page


def test_the_page_escapes_what_it_shows(builder, tmp_path):
    page = html(collect(builder(tmp_path, notes="<script>alert(1)</script>")))
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_identifiers_of_the_two_pictures_differ(build):
    page = html(collect(build))
    found = re.findall(r'\bid="([^"]+)"', page)
    assert len(found) == len(set(found))


def test_the_picture_is_svg_that_scales_and_links(build):
    svg = picture(collect(build))
    root = ElementTree.fromstring(svg)
    assert "viewBox" in root.attrib and "width" not in root.attrib
    assert "#variant-int4-onnxruntime-cpu" in svg and len(svg) < 100_000


def test_a_build_without_results_still_gives_a_report(build, breaker, tmp_path):
    for row in build["variants"]:
        breaker(build, row["name"], "checkpoint", "no network & no cache")
    facts = collect(build)
    write_report(facts, tmp_path / "out")
    assert not (tmp_path / "out/pareto.svg").exists()
    assert "no network &amp; no cache" in html(facts)
    assert "no network & no cache" in markdown(facts)


def test_markdown_has_one_table_row_and_one_command_a_variant(build):
    text = markdown(collect(build))
    for row in build["variants"]:
        assert len(re.findall(rf"^\| {re.escape(row['name'])} \|", text, re.M)) == 2
    header, rule = text[text.index("| variant |") :].splitlines()[:2]
    assert header.count("|") == rule.count("|")


def test_what_passed_counts_where_no_quality_can_be_drawn(build):
    facts = collect(build)
    for variant in facts["variants"]:
        variant["quality"] |= {"perplexity": None, "tasks": {}}  # one window, and no task
    assert "3 of 4 variants passed the gate" in markdown(facts)
    assert "3 of 4 variants" in html(facts)
    assert "pareto.svg" not in markdown(facts) and picture(facts) is None


def test_what_was_not_run_is_counted_beside_what_passed(build):
    facts = collect(build)
    facts["variants"][-1] |= {"status": "not_run", "reason": "no GPU"}
    facts["variants"][-1]["gate"] |= {"passed": False}
    passed = sum(variant["gate"]["passed"] for variant in facts["variants"])
    said = f"{passed} of 4 variants passed the gate, 1 not run"
    assert said in markdown(facts)
    assert "0 failed, 1 not run" in html(facts)


def test_the_picture_is_shown_where_nothing_passed(build):
    facts = collect(build)
    for variant in facts["variants"]:
        variant["gate"]["passed"] = False
    assert picture(facts) is not None and "](pareto.svg)" in markdown(facts)


def test_columns_without_values_are_left_out(build):
    titles = [c.title for c in table(collect(build)["variants"]).columns]
    assert "Energy" not in titles and "Perplexity" in titles and "arc easy" in titles


def test_the_larger_batch_is_shown_whichever_it_is(build):
    facts = collect(build)
    for variant in facts["variants"]:
        timed = variant["performance"]
        timed |= {"batch_16": timed["batch_8"], "batch_8": None}
    assert "Batch 16" in [c.title for c in table(facts["variants"]).columns]
    assert "decode tokens/s, batch 16" in html(facts) and "546" in markdown(facts)
    flat = metrics(facts)
    assert flat["int4-onnxruntime-cpu.batch_16.decode_tokens_per_s"] == 546.0


def test_names_of_points_do_not_cover_each_other():
    labels = [Label((100.0 + 3 * i, 100.0), 8.0, 60.0, 20.0) for i in range(6)]
    markers = [(x - 8, 92.0, x + 8, 108.0) for x in (label.anchor[0] for label in labels)]
    boxes = [p.box for p in place(labels, markers, (0.0, 0.0, 400.0, 300.0))]
    pairs = [(a, b) for i, a in enumerate(boxes) for b in [*boxes[i + 1 :], *markers]]
    assert sum(shared_area(a, b) for a, b in pairs) == 0.0
    assert all(min(b) >= 0 and b[2] <= 400 and b[3] <= 300 for b in boxes)


def test_a_label_shows_quantized_activations_and_zeros_where_there_are_any(build):
    facts = collect(build)
    assert "Activations" not in html(facts)
    facts["variants"][1]["format"]["activations"] = "int8 dynamic"
    facts["variants"][1]["format"]["sparsity"] = {"zeros": 0.5, "two_of_four": True}
    page = html(facts)
    assert "<td>Activations</td><td>int8 dynamic</td>" in page
    assert "<td>Two zeros in every four</td><td>yes</td>" in page
