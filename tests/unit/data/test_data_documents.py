import pytest

from drawplate.data.documents import (
    Document,
    fraction,
    read_documents,
    split,
    take,
    without_repeats,
)
from drawplate.data.overlap import check_disjoint, drop_shared, ngram_set
from drawplate.data.read import read_rows, read_texts
from drawplate.errors import DrawplateError

LONG = " ".join(f"word{n}" for n in range(20))


def documents(count):
    return [Document(f"d{n}", (f"paragraph of {n}",)) for n in range(count)]


def test_a_text_file_is_a_document_of_paragraphs(tmp_path):
    (tmp_path / "b.txt").write_text("one\nline\n\n \n\ntwo\n")
    (tmp_path / "a.txt").write_text("other\r\n\r\nend")
    found = read_documents(tmp_path, "text")
    assert found == [Document("a.txt", ("other", "end")), Document("b.txt", ("one\nline", "two"))]


def test_docstrings_are_read_without_running_code(tmp_path):
    doc = "First.\n\n    " + "long " * 100
    code = f'raise SystemExit\ndef f():\n    """{doc}"""\ndef g():\n    """short"""\n'
    (tmp_path / "m.py").write_text(code)
    (tmp_path / "broken.py").write_text("def (")
    (document,) = read_documents(tmp_path, "docstrings")
    assert document.id == "m.py"
    assert document.paragraphs[0] == "First." and document.paragraphs[1].startswith("long long")


def test_jsonl_rows_are_documents(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"id": "x", "text": "a\\n\\nb"}\n\n{"text": "c"}\n')
    found = read_documents(tmp_path, "jsonl")
    assert [d.id for d in found] == ["r.jsonl#x", "r.jsonl#2"]
    assert found[0].text == "a\n\nb"


def test_repeated_paragraphs_count_once():
    kept = without_repeats([Document("a", ("x", "y", "x")), Document("b", ("y",))])
    assert kept == [Document("a", ("x", "y"))]


def test_a_document_stays_on_its_side_whatever_is_added():
    calibration, held_out = split(documents(200), 0.3)
    assert len(calibration) + len(held_out) == 200
    assert 40 <= len(held_out) <= 80
    fewer = split(documents(50), 0.3)[1]
    assert {d.id for d in fewer} == {d.id for d in held_out} & {d.id for d in documents(50)}
    assert split(documents(9), 0)[1] == [] and split(documents(9), 1)[0] == []
    assert fraction("split", "d1") == fraction("split", "d1") != fraction("order", "d1")


def test_documents_are_taken_from_their_beginning_up_to_a_size():
    long = [Document(str(n), ("a" * 40, "b" * 40, "c" * 40)) for n in range(10)]
    taken = take(long, total_bytes=200, document_bytes=90)
    assert [d.paragraphs for d in taken] == [("a" * 40, "b" * 40)] * 3


def test_shared_runs_of_words_are_dropped_or_refused():
    held_out = ngram_set([f"Before that, {LONG.upper()}; after."], 13)
    shared = Document("s", (f"new words {LONG} here", "wholly different"))
    kept, dropped = drop_shared([shared], held_out, 13)
    assert kept == [Document("s", ("wholly different",))] and dropped == 1
    check_disjoint(kept, held_out, 13)
    with pytest.raises(DrawplateError, match="text s, paragraph 1 shares 13 words"):
        check_disjoint([shared], held_out, 13)
    twelve = Document("t", (" ".join(LONG.split()[:12]),))
    check_disjoint([twelve], held_out, 13)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"text": "a"}\n{"text": 1}\n', ":2 has a wrong 'text'"),
        (b'{"text": "a"}\n\n{"other": 1}\n', ":3 has no 'text'"),
        (b"{text}\n", ":1 is not JSON"),
        (b"[1]\n", ":1 is not an object"),
        (b"\n", "holds no rows"),
        (b'{"text": "a"}\n{"text": "\xff"}\n', ":2 is not UTF-8"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_field(tmp_path, content, said):
    (tmp_path / "r.jsonl").write_bytes(content)
    with pytest.raises(DrawplateError, match=r"r\.jsonl") as caught:
        read_rows(tmp_path / "r.jsonl", {"text": str})
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_texts_of_either_form_are_read_alike(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert read_texts(tmp_path / "a.txt") == read_texts(tmp_path / "a.jsonl") == ["one", "two"]
    (tmp_path / "empty.txt").write_text("\n")
    for name in ("empty.txt", "none.txt"):
        with pytest.raises(DrawplateError, match=name):
            read_texts(tmp_path / name)


def test_an_unknown_reader_and_a_source_without_documents_are_refused(tmp_path):
    with pytest.raises(DrawplateError, match="choose one of text, docstrings, jsonl"):
        read_documents(tmp_path, "pdf")
    with pytest.raises(DrawplateError, match="finds no document"):
        read_documents(tmp_path, "text")
