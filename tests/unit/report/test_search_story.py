"""The story of a search in every form of the report."""

import xml.etree.ElementTree as ElementTree

from drawplate.artifacts.files import write_json
from drawplate.build.job import digest_of_result
from drawplate.report.contract import check
from drawplate.report.facts import collect
from drawplate.report.render import html, markdown
from drawplate.report.search import draw_search
from drawplate.search.trials import Trial, choose, story

TRIALS = [
    Trial(number=0, recipe="int8", generation=0, status="measured", loss=0.001, bytes=300),
    Trial(number=1, recipe="int4", generation=0, status="measured", loss=0.1, bytes=150),
    Trial(number=2, recipe="w-int4", generation=1, status="measured", loss=0.4, bytes=151),
    Trial(number=3, recipe="kd", generation=1, status="failed", reason="<no> space"),
    Trial(number=4, recipe="int8", generation=1, status="repeated", loss=0.001, bytes=300),
]


def told() -> dict:
    kept, stopped = choose(TRIALS, 1000, 3, None)
    return story(TRIALS, kept, stopped, 1000, "causal-lm")


def test_every_form_tells_who_was_stopped_and_why(build, tmp_path) -> None:
    write_json(
        tmp_path / "search.json", {"result": told(), "result_sha256": digest_of_result(told())}
    )
    facts = collect({**build, "search": str(tmp_path)})
    check("report", facts)
    assert facts["search"]["survivors"] == ["int4", "int8"]
    page, text = html(facts), markdown(facts)
    for form in (page, text):
        assert "4 recipes were tried" in form
        assert "stopped: int4 loses no more and is no larger" in form
    assert "failed: &lt;no&gt; space" in page
    assert "| 0 | int8 | 0.001 |" in text


def test_a_search_whose_survivors_are_all_stopped_says_so(build, tmp_path) -> None:
    write_json(
        tmp_path / "search.json", {"result": told(), "result_sha256": digest_of_result(told())}
    )
    facts = collect({**build, "search": str(tmp_path)})
    assert "o recipe file" not in html(facts) + markdown(facts)
    facts["pareto"] = [name for name in facts["pareto"] if name.startswith("float")]
    said = "No recipe file: 2 survivors, 2 passed the gate, none is on the Pareto front."
    assert said in html(facts) and f"**{said}**" in markdown(facts)
    for variant in facts["variants"][1:]:
        variant["gate"]["passed"] = False
    said = "No recipe file: 2 survivors, none passed the gate."
    assert said in html(facts) and f"**{said}**" in markdown(facts)


def test_a_build_without_a_search_does_not_mention_one(build) -> None:
    facts = collect(build)
    assert facts["search"] is None
    assert "The search" not in html(facts) + markdown(facts)


def test_the_picture_is_svg_whose_identifiers_are_its_own() -> None:
    svg = draw_search(told())
    ids = [e.attrib["id"] for e in ElementTree.fromstring(svg).iter() if "id" in e.attrib]
    assert ids and all(i.startswith("search-") for i in ids)
    assert draw_search({**told(), "trials": []}) is None
