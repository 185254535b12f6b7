"""What stands in an answer's fields."""

import pytest
from drawplate_server.answers import Answer
from drawplate_server.generation import Piece


@pytest.mark.parametrize(
    ("chat", "scored", "told"),
    [
        (True, True, {"content": [], "refusal": None}),
        (False, True, {"tokens": [], "token_logprobs": [], "top_logprobs": []}),
        (True, False, None),
    ],
)
def test_an_answer_without_a_token_has_log_probabilities_of_none(chat, scored, told):
    """A client that asked for them reads the list, be it empty."""
    answer = Answer("model", chat, 3, None, scored)
    (choice,) = answer.whole([Piece("", [], 1, "stop")])["choices"]
    assert choice["logprobs"] == told
