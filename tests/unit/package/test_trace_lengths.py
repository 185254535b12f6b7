"""Lengths of real requests for the load of an image."""

import json

import pytest

from drawplate.errors import DrawplateError
from drawplate.package.trace import read_trace


def test_requests_that_the_limits_allow_are_taken_in_their_order(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t_s,input_tokens,output_tokens\n0,50,7\n1,90,8\n2,20,90\n3,10,5\n4,70,6\n")
    trace = read_trace(path, 80, 64, around_tokens=10)
    assert trace.lengths == [(50, 7), (10, 5), (70, 6)]
    assert trace.facts() == {
        "requests": 3,
        "left_out": 2,
        "prompt_tokens_median": 50,
        "new_tokens_median": 6,
    }
    trace.write(tmp_path / "trace.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert rows[0] == {"timestamp": 0, "input_length": 50, "output_length": 7}
    assert {row["timestamp"] for row in rows} == {0}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("a,b\n1,2\n", "lacks the columns input_tokens and output_tokens"),
        ("input_tokens,output_tokens\nmany,2\n", "cannot be read"),
        ("input_tokens,output_tokens\n900,2\n", "no request of .* fits the server's limits"),
        ("input_tokens,output_tokens\n", "no request of .* fits"),
    ],
)
def test_what_is_no_trace_is_refused(content, said, tmp_path):
    path = tmp_path / "trace.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DrawplateError, match=said):
        read_trace(path, 80, 64)
