import json
import re
import xml.etree.ElementTree as ElementTree

from drawplate.report.costs import with_costs
from drawplate.report.facts import collect
from drawplate.report.render import html, markdown
from drawplate.report.write import write_report


def priced(build, **changed):
    config = {**build, "cost": {**build["cost"], **changed}}
    return with_costs(collect(config), config)


def test_every_variant_has_the_contracts_cost_and_the_cheapest_that_passed_is_shown(
    build, tmp_path
):
    facts = priced(build)
    write_report(facts, tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    for variant in report["variants"]:
        assert {"currency", "per_million_tokens", "assumptions"} <= variant["cost"].keys()
    # int4rtn is faster, so cheaper, but was stopped by the gate.
    assert report["cost"]["shown"] == "int4-onnxruntime-cpu"


def test_a_twofold_price_is_in_the_cost_and_another_machines_price_is_not(build):
    free = {"power_price_per_kwh": 0.0, "residual_share": 0.0}
    once = priced(build, years=1, **free)
    twice = priced(build, years=2, **free, operations_share_per_year=0.0)
    one, two = (f["variants"][0]["cost"]["total"] for f in (once, twice))
    assert one["hardware"] == two["hardware"] and two["operations"] == 0.0
    other = priced(build, machine="h100")
    assert all(v["cost"] is None for v in other["variants"])
    assert "measured on the processor" in markdown(other) and "measured on the processor" in html(
        other
    )


def test_the_page_names_the_break_even_and_draws_sensitivity_and_optimum(build):
    page = html(priced(build))
    for words in ("Breaks even at", "million tokens a day", "assumed", "at once cost least"):
        assert words in page
    found = [m[0] for m in re.finditer(r"<svg.*?</svg>", page, re.S)]
    drawn = [svg for svg in found if "tornado-" in svg or "optimum-" in svg]
    assert len(drawn) == 2
    for svg in drawn:
        ElementTree.fromstring(svg)
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_markdown_has_the_same_rows(build):
    text = markdown(priced(build))
    part = text[text.index("## What it costs") : text.index("## How this was measured")]
    for row in build["variants"]:
        assert f"| {row['name']} |" in part
    assert "utilisation" in part and "by batch size" in part and "2 cores of cpu_server" in part


def test_a_sweep_is_taken_in_only_if_it_is_of_this_plan(build, tmp_path):
    folder = tmp_path / "results/tiny/sweep"
    folder.mkdir(parents=True)
    places = {"path": str(folder), "stamp": str(folder / "00.key")}
    config = {**build, "sweep": places}
    assert with_costs(collect(config), config)["cost"]["sweep"] is None
