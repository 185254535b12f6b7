"""What is no request, or beyond a limit, is refused in the API's own form: a sentence, and the field it is about."""

import http.client
import time

import pytest
from tests.unit.serving.conftest import post

MODEL = "model"
PROMPT = {"model": MODEL, "prompt": "the river"}
TURN = [{"role": "user", "content": "walk home along the river"}]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"prompt": "river " * 200}, 400, "tokens; 64 are allowed"),
        ({"max_tokens": 17}, 400, "17 new tokens are asked for; 16 are allowed"),
        ({"prompt": "x" * 30000}, 413, "larger than 20000 bytes"),
        ({"model": "other"}, 404, "the model served here is model"),
        ({"temprature": 1}, 400, "temprature is not known here; leave it out"),
        ({"max_tokens": "3"}, 400, "max_tokens: Input should be a valid integer"),
        ({"n": 2}, 400, "n: Input should be less than or equal to 1"),
        ({"prompt": [400]}, 400, "token ids end at 383"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_in_the_apis_own_form(server, change, status, said):
    found, body = post(server, {**PROMPT, **change})
    assert found == status
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert said in body["error"]["message"]
    assert body["error"]["type"] == "invalid_request_error"


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        *(({"stop": stop}, "stop", "up to 4 of them") for stop in (["a"] * 5, [""], "", 3)),
        *(({"prompt": p}, "prompt", "several prompts one by one") for p in (["a", "b"], "", [[1]])),
        ({"messages": [{**TURN[0], "content": [IMAGE]}]}, "messages.0.content", "takes a text, or"),
        ({"messages": TURN, "top_logprobs": 2}, "top_logprobs", "needs logprobs: true"),
        (
            {"messages": TURN, "response_format": {"type": "json_object"}},
            "response_format.type",
            "should be 'text'",
        ),
        (
            {"messages": TURN, "top_logprobs": 0, "logprobs": False},
            "top_logprobs",
            "needs logprobs: true",
        ),
    ],
)
def test_a_field_in_a_form_it_has_not_is_named_with_those_it_has(server, change, param, said):
    chat = "messages" in change
    asked = {"model": MODEL, **({} if chat else PROMPT), **change}
    status, body = post(server, asked, "chat/completions" if chat else "completions")
    assert (status, body["error"]["param"]) == (400, param)
    assert said in body["error"]["message"]
    assert body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"nul",
        b"\xff\xfe{}",
        b'{"model": "model", "prompt": "\\ud800"}',
        b"[" * 10000,
        b'{"model": "model", "prompt": "a", "seed": 1e999}',
        b'{"model": "model", "prompt": "a", "temperature": NaN}',
        b'{"model": "model", "prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_request_is_a_400_and_the_next_is_answered(server, body):
    status, answer = post(server, body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert post(server, {**PROMPT, "max_tokens": 1})[0] == 200


def test_a_body_that_says_it_is_too_large_is_not_waited_for(server):
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=30)
    begun = time.monotonic()
    connection.putrequest("POST", "/v1/completions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "99999999999")
    connection.endheaders()
    assert connection.getresponse().status == 413
    assert time.monotonic() - begun < 2


def test_the_limit_that_was_broken_is_named(server):
    asked = {"model": MODEL, "messages": TURN, "max_completion_tokens": 10**6, "max_tokens": 1}
    _, body = post(server, asked, "chat/completions")
    assert body["error"]["param"] == "max_completion_tokens"
