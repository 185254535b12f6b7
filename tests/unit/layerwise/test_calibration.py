"""Texts as they are in the file, whatever characters are in them."""

import pytest
from tests.tiny import write_model
from tokenizers import Tokenizer

from drawplate.data.read import write_rows
from drawplate.distill.sentences import pieces
from drawplate.layerwise.calibration import read_token_ids

TEXT = "one line\u2028another\u2029a third\x85a fourth\x0band a last one"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "calibration.jsonl"
    write_rows(path, [{"id": "0", "text": TEXT}])
    return path


def test_separators_of_unicode_part_no_rows(texts, tmp_path):
    write_model(tmp_path / "base")
    tokenizer = tmp_path / "base" / "tokenizer.json"
    ids = read_token_ids(texts, tokenizer).tolist()
    assert Tokenizer.from_file(str(tokenizer)).decode(ids) == TEXT + "\n\n"


def test_nor_do_they_for_sentences(texts):
    assert pieces(texts) == [" ".join(TEXT.split())]
