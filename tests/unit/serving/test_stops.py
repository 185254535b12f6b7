"""Whatever pieces a text comes in, what is shown is what stands before the first stop word."""

from drawplate_server.stops import StopWords
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


@given(st.lists(st.text("ab\n", max_size=5)), WORDS)
def test_shown_is_what_stands_before_the_first_word_that_is_complete(pieces, words):
    stops = StopWords(words)
    shown, read = "", ""
    for piece in pieces:
        shown += stops.push(piece)
        read += piece
        if stops.found:
            break
    shown += "" if stops.found else stops.flush()
    found = [read.find(word) for word in words if word in read]
    assert stops.found == bool(found)
    assert shown == (read[: min(found)] if found else read)


def test_nothing_is_held_back_without_reason():
    stops = StopWords(["END"])
    assert stops.push("the E") == "the "
    assert stops.push("lephant") == "Elephant"
