import hashlib
import json
from pathlib import Path

import pytest
import yaml

from drawplate.artifacts.manifest import digest_of, list_files
from drawplate.data.documents import Document
from drawplate.data.prepare import prepare
from drawplate.data.read import read_rows, read_texts
from drawplate.data.tasks import inverse_cloze, last_word_task, lookup_task
from drawplate.errors import DrawplateError
from drawplate.sources.fetch import fetch

ROOT = Path(__file__).parents[3]

CAPITALS = {
    "France": "Paris",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Cuba": "Havana",
}


def passage(n, last="garden"):
    """A paragraph of fifty words that no other shares and that ends on a word it has used."""
    words = " ".join(f"word{n}x{k}" for k in range(38))
    return f"On day {n} the keeper left the {last} early. Nobody saw {words} walk into the {last}."


def pinned(path):
    sha256 = (
        digest_of(list_files(path))
        if path.is_dir()
        else (hashlib.sha256(path.read_bytes()).hexdigest())
    )
    return {"kind": "folder", "path": str(path), "sha256": sha256, "license": "MIT"}


@pytest.fixture
def config(tmp_path):
    texts, facts, mine = (tmp_path / n for n in ("texts", "facts", "mine.jsonl"))
    texts.mkdir()
    facts.mkdir()
    for n in range(40):
        (texts / f"{n}.txt").write_text("\n\n".join(passage(10 * n + k) for k in range(4)))
    for name, capital in CAPITALS.items():
        (facts / f"{name}.json").write_text(json.dumps({"name": name, "capital": capital}))
    (facts / "empty.json").write_text('{"name": "Nowhere"}')
    mine.write_text('{"id": 1, "context": "c", "target": "t"}\n')
    return {
        "sources": {"texts": pinned(texts), "facts": pinned(facts), "mine": pinned(mine)},
        "texts": {
            "stories": {
                "source": "texts",
                "reader": "text",
                "held_out": 0.3,
                "calibration_bytes": 4000,
                "evaluation_bytes": 2000,
                "document_bytes": 900,
            }
        },
        "tasks": {
            "capitals": {
                "make": "lookup",
                "source": "facts",
                "question": "Capital of {name}?",
                "answer": "capital",
                "rows": 4,
            },
            "last_word": {"make": "last_word", "text": "stories", "rows": 5},
            "own": {"make": "rows", "source": "mine"},
        },
        "embed": {"stories": {"make": "inverse_cloze", "text": "stories", "rows": 5}},
        "overlap": {"words": 13, "then": "drop"},
    }


def made(config, tmp_path, name="out"):
    out = tmp_path / name
    out.mkdir()
    return prepare(config, out), out


def test_everything_is_written_recorded_and_the_same_twice(config, tmp_path):
    result, out = made(config, tmp_path)
    again, _ = made(config, tmp_path, "again")
    assert result == again
    assert [f["path"] for f in result["files"]] == [
        "embed/stories_corpus.jsonl",
        "embed/stories_queries.jsonl",
        "tasks/capitals.jsonl",
        "tasks/last_word.jsonl",
        "tasks/mine.jsonl",
        "texts/calibration.jsonl",
        "texts/evaluation/stories.txt",
    ]
    for file in result["files"]:
        content = (out / file["path"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["bytes"] == len(content) and file["license"] == "MIT" and file["sources"]
    rows = read_rows(out / "texts/calibration.jsonl", {"id": str, "domain": str, "text": str})
    calibration = {p for row in rows for p in row["text"].split("\n\n")}
    evaluation = set(read_texts(out / "texts/evaluation/stories.txt"))
    assert calibration and evaluation and not calibration & evaluation
    assert not list(tmp_path.glob(".fetched-*"))


def test_calibration_text_that_repeats_evaluation_text_is_dropped_or_named(config, tmp_path):
    result, out = made(config, tmp_path)
    assert result["overlap"]["dropped_paragraphs"] == 0
    first = read_rows(out / "texts/calibration.jsonl")[0]["id"].removeprefix("stories/")
    held_out = read_texts(out / "texts/evaluation/stories.txt")[0]
    copied = tmp_path / "texts" / first
    copied.write_text(f"Copied. {held_out}\n\n{copied.read_text()}")
    config["sources"]["texts"] = pinned(tmp_path / "texts")
    assert made(config, tmp_path, "b")[0]["overlap"]["dropped_paragraphs"] == 1
    config["overlap"]["then"] = "fail"
    with pytest.raises(DrawplateError, match=f"{first}, paragraph 1 shares 13 words"):
        made(config, tmp_path, "c")


def test_the_users_own_rows_count_as_evaluation_text(config, tmp_path):
    texts = sorted((tmp_path / "texts").glob("*.txt"))
    rows = [{"context": t.read_text(), "target": "x"} for t in texts]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    config["sources"]["mine"] = pinned(tmp_path / "mine.jsonl")
    with pytest.raises(DrawplateError, match="no document for calibration"):
        made(config, tmp_path)


def test_a_text_on_one_side_only_is_told(config, tmp_path):
    config["texts"]["stories"]["held_out"] = 1
    with pytest.raises(DrawplateError, match="no document for calibration: change its held_out"):
        made(config, tmp_path)


def test_lookup_rows_have_the_right_label_and_other_records_answers(config, tmp_path):
    settings = config["tasks"]["capitals"] | {"rows": 9}
    rows = lookup_task("capitals", tmp_path / "facts", settings)
    assert len(rows) == len(CAPITALS)
    for row in rows:
        country = row["context"].removeprefix("Capital of ").removesuffix("?")
        assert row["choices"][row["label"]] == CAPITALS[country]
        assert len(set(row["choices"])) == 4
    assert len({row["label"] for row in rows}) > 1
    assert lookup_task("capitals", tmp_path / "facts", settings | {"rows": 2}) == rows[:2]


def test_a_last_word_has_occurred_before(config):
    good, new = passage(1), passage(2).removesuffix("garden.") + "forest."
    short = passage(3, last="inn")
    (row,) = last_word_task("w", [Document("d", (good, new, short))], {"rows": 9})
    assert row["target"] == "garden" and row["context"] + " garden." == good


def test_inverse_cloze_pairs_a_first_sentence_with_its_rest():
    document = Document("d", (passage(1), "Too short."))
    corpus, queries = inverse_cloze("s", [document], {"rows": 9})
    assert queries[0]["query"] == "On day 1 the keeper left the garden early."
    assert queries[0]["relevant"] == [corpus[0]["id"]]
    assert f"{queries[0]['query']} {corpus[0]['text']}" == passage(1)


def test_own_rows_with_one_id_twice_are_refused(config, tmp_path):
    row = '{"id": 1, "context": "c", "target": "t"}\n'
    (tmp_path / "mine.jsonl").write_text(2 * row)
    config["sources"]["mine"] = pinned(tmp_path / "mine.jsonl")
    with pytest.raises(DrawplateError, match="id 1 twice"):
        made(config, tmp_path)


CHOICE = {"context": "c", "choices": ["a", "b"], "label": 0}
SIMILAR = {"sentence1": "a", "sentence2": "b", "score": 1.5}


@pytest.mark.parametrize(
    ("section", "rows", "said"),
    [
        ("tasks", [{"prompt": "?"}], "mine.jsonl has the fields of no known form"),
        ("tasks", [CHOICE, {"context": "c"}], "mine.jsonl:2 has no usable 'choices'"),
        ("tasks", [CHOICE | {"label": True}], "mine.jsonl:1 has no usable 'label'"),
        ("tasks", [CHOICE | {"label": 2}], "mine.jsonl:1: label 2 names no choice"),
        ("tasks", [CHOICE | {"choices": ["a", "a"]}], "mine.jsonl:1 has its right choice twice"),
        ("tasks", [CHOICE, CHOICE | {"context": ""}], "mine.jsonl mixes rows"),
        ("tasks", [SIMILAR], "mine.jsonl is of the form similarity"),
        ("embed", [CHOICE], "mine.jsonl is of the form multiple_choice"),
        ("embed", [SIMILAR | {"score": False}], "mine.jsonl:1 has no usable 'score'"),
        ("embed", [SIMILAR | {"score": float("nan")}], "mine.jsonl:1 has the score nan"),
        ("embed", [{"query": "q", "relevant": [1]}], "mine.jsonl:1 needs one or more ids"),
    ],
)
def test_own_rows_that_no_scorer_can_read_are_refused_at_once(
    config, tmp_path, section, rows, said
):
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config["sources"]["mine"] = pinned(tmp_path / "mine.jsonl")
    del config["tasks"]["own"]
    config[section]["own"] = {"make": "rows", "source": "mine"}
    with pytest.raises(DrawplateError) as caught:
        made(config, tmp_path)
    assert str(caught.value).startswith(said)


def test_a_record_that_is_no_json_is_told(config, tmp_path):
    settings = config["tasks"]["capitals"]
    (tmp_path / "facts" / "list.json").write_text("[1]")  # of no use, and no harm
    assert lookup_task("capitals", tmp_path / "facts", settings)
    with pytest.raises(DrawplateError, match=r"has the question 'Capital of {'"):
        lookup_task("capitals", tmp_path / "facts", settings | {"question": "Capital of {"})
    (tmp_path / "facts" / "broken.json").write_text('{"name": ')
    with pytest.raises(DrawplateError, match=r"^broken\.json is not JSON"):
        lookup_task("capitals", tmp_path / "facts", settings)


@pytest.mark.real_model
def test_the_default_capitals_come_from_their_package(tmp_path, monkeypatch):
    monkeypatch.setenv("DRAWPLATE_CACHE", str(tmp_path / "cache"))
    default = yaml.safe_load((ROOT / "conf/data/default.yaml").read_text())
    facts = fetch(default["sources"]["countries"], tmp_path)
    rows = lookup_task("capitals", facts, default["tasks"]["capitals"])
    (france,) = [r for r in rows if "France?" in r["context"]]
    assert len(rows) == 200 and france["choices"][france["label"]] == "Paris"
