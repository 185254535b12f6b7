"""The server over a real tiny engine, asked by the client that its users have."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import openai
import pytest
from tests.unit.serving.conftest import SERVING, launch, post, running

from drawplate import engines
from drawplate.engines.tokenizer import load_tokenizer

TURN = [{"role": "user", "content": "walk home along the river"}]
MODEL = "model"


def client(address: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


def own_answer(engine: Path, ids: list[int], new: int) -> list[int]:
    (engine / "logits.onnx").touch()  # the library wants it to be there
    loaded = engines.load("onnxruntime", engine, 1)
    (engine / "logits.onnx").unlink()
    return loaded.generate(np.array([ids]), new)[0].tolist()


@pytest.fixture(scope="module")
def expected(engine) -> str:
    """What the engine itself says next to `TURN`, 12 tokens."""
    tokenizer = load_tokenizer(engine)
    text = tokenizer.apply_chat_template(TURN, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer.decode(own_answer(engine, ids, 12), skip_special_tokens=True)


def test_greedy_answers_are_the_engines_own_in_one_piece_and_in_many(server, expected):
    asked = {"model": MODEL, "messages": TURN, "temperature": 0, "max_tokens": 12}
    asked["response_format"] = {"type": "text"}  # as some clients say what they would get anyway
    more = {"extra_body": {"ignore_eos": True}}
    whole = client(server).chat.completions.create(**asked, **more)
    assert whole.choices[0].message.content == expected
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 12
    chunks = list(
        client(server).chat.completions.create(
            **asked, **more, stream=True, stream_options={"include_usage": True}
        )
    )
    parts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(parts) == expected
    assert len(parts) == 12
    assert chunks[-1].usage == whole.usage


def test_stop_words_end_an_answer_and_are_not_shown(server, expected):
    word = expected[4:7]
    answer = client(server).chat.completions.create(
        model=MODEL, messages=TURN, temperature=0, max_tokens=12, stop=[word, "never said"]
    )
    assert answer.choices[0].message.content == expected[: expected.index(word)]
    assert answer.choices[0].finish_reason == "stop"


def test_completions_take_texts_and_token_ids_and_tell_log_probabilities(server, engine):
    ids = load_tokenizer(engine)("the river")["input_ids"]
    asked = {"model": MODEL, "temperature": 0, "max_tokens": 3, "logprobs": 2}
    by_text, by_ids = (
        client(server).completions.create(prompt=prompt, **asked) for prompt in ("the river", ids)
    )
    assert by_text.choices[0].text == by_ids.choices[0].text
    told = by_text.choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == 3
    for own, top in zip(told.token_logprobs, told.top_logprobs, strict=True):
        assert own == max(top.values()) < 0
    chat = client(server).chat.completions.create(
        model=MODEL,
        messages=TURN,
        max_tokens=2,
        logprobs=True,
        top_logprobs=3,
        extra_body={"ignore_eos": True},  # at temperature 1 it would end at once now and then
    )
    assert [len(entry.top_logprobs) for entry in chat.choices[0].logprobs.content] == [3, 3]


def test_equal_seeds_give_equal_answers(server):
    def ask(seed: int) -> str:
        asked = {"model": MODEL, "prompt": "the river", "max_tokens": 16, "seed": seed}
        return client(server).completions.create(temperature=1.5, **asked).choices[0].text

    assert ask(1) == ask(1) != ask(2)


def test_models_health_and_metrics(server):
    assert [model.id for model in client(server).models.list()] == [MODEL]
    assert client(server).models.retrieve(MODEL).owned_by == "drawplate"
    ready = json.load(urllib.request.urlopen(f"{server}/ready"))
    assert ready["status"] == "ready"
    assert len(ready["digest"]) == 71
    metrics = urllib.request.urlopen(f"{server}/metrics").read().decode()
    for name in ("requests_total", "generation_tokens_total", "time_to_first_token_seconds_bucket"):
        assert f"drawplate_{name}" in metrics


PROMPT = {"model": MODEL, "prompt": "the river"}


def test_other_routes_methods_and_forms_have_their_own_status(server):
    assert post(server, PROMPT, route="edits")[0] == 404
    assert post(server, PROMPT, **{"Content-Type": "text/plain"})[0] == 415
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(f"{server}/v1/completions")
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(f"{server}/v1/models/")
    assert json.load(refused.value)["error"]["code"] == "not_found"


@pytest.mark.parametrize("route", ["health", "ready"])
def test_a_probe_may_ask_for_the_head_alone(server, route):
    with urllib.request.urlopen(f"{server}/{route}") as whole:
        asked = urllib.request.Request(f"{server}/{route}", method="HEAD")
        with urllib.request.urlopen(asked) as head:
            assert (head.status, head.read()) == (200, b"")
            assert head.headers["Content-Length"] == str(len(whole.read()))


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_slot(engine, stream):
    """Else the one slot would be busy with answers that nobody reads."""
    with running(engine, max_queue=0, max_prompt_tokens=64, max_new_tokens=440) as address:
        _ask_and_go(address, stream)
        asked = {**PROMPT, "max_tokens": 1}
        for _ in range(50):  # what was begun ends with the pass it is in
            if (status := post(address, asked)[0]) == 200:
                break
            assert status == 429
            time.sleep(0.02)
        assert status == 200


def _ask_and_go(address: str, stream: bool) -> None:
    host, port = address.removeprefix("http://").split(":")
    asked = {**PROMPT, "max_tokens": 440, "ignore_eos": True, "stream": stream}
    body = json.dumps(asked).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        if stream:
            connection.recv(10)
        else:
            time.sleep(0.1)


def test_a_client_that_goes_within_its_body_is_no_failure_of_the_server(engine):
    with running(engine, max_prompt_tokens=64) as address:
        host, port = address.removeprefix("http://").split(":")
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        for _ in range(50):
            metrics = urllib.request.urlopen(f"{address}/metrics").read().decode()
            if 'route="/v1/completions"' in metrics:
                break
            time.sleep(0.02)
        assert 'drawplate_requests_total{route="/v1/completions",status="499"} 1.0' in metrics


def test_a_full_queue_refuses_at_once_and_nobody_else_is_hurt(engine):
    with running(engine, slots=1, max_queue=1, max_prompt_tokens=64, max_new_tokens=400) as address:
        asked = {**PROMPT, "max_tokens": 400, "ignore_eos": True}
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(post(address, asked)[0])) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(set(found)) == [200, 429]
        assert found.count(200) >= 2
        assert post(address, {**PROMPT, "max_tokens": 1})[0] == 200


def test_an_answer_that_takes_too_long_is_ended(engine):
    with running(engine, max_prompt_tokens=64, max_new_tokens=440, timeout_s=1) as address:
        started = time.monotonic()
        status, body = post(address, {**PROMPT, "max_tokens": 440, "ignore_eos": True})
        if status != 200:  # a machine may be that fast
            assert (status, body["error"]["code"]) == (503, "timeout")
        assert time.monotonic() - started < 10
        assert post(address, {**PROMPT, "max_tokens": 1})[0] == 200


def test_a_key_is_asked_for_where_one_is_set(engine, tmp_path):
    (tmp_path / "key").write_text("s3cret\n")
    with running(engine, api_key_file=tmp_path / "key", max_prompt_tokens=64) as address:
        for key in ("wrong", "s3cre", "s3cret2"):
            with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
                client(address, key).models.list()
        assert post(address, PROMPT)[0] == 401
        assert [model.id for model in client(address, "s3cret").models.list()] == [MODEL]
        assert urllib.request.urlopen(f"{address}/ready").status == 200


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"slots": 0}, "DRAWPLATE_SLOTS is 0; write 1 or more"),
        ({"slots": "two"}, "DRAWPLATE_SLOTS is 'two'; write a number"),
        ({"slots": 5000}, "DRAWPLATE_SLOTS is 5000; write 1024 or less"),
        ({"threads": 100000}, "DRAWPLATE_THREADS is 100000; write "),
        ({"slot": 1}, "DRAWPLATE_SLOT is not a setting; known are DRAWPLATE_MODEL"),
        ({"timeout_s": "nan"}, "DRAWPLATE_TIMEOUT_S is nan"),
        ({"drain_delay_s": "inf"}, "DRAWPLATE_DRAIN_DELAY_S is inf; write 86400 or less"),
        ({"model_name": " "}, "DRAWPLATE_MODEL_NAME is empty; write a value, or leave it out"),
        ({"api_key_file": "/nowhere"}, "the API key cannot be read"),
        ({"max_prompt_tokens": 10**6}, "the model takes 512 tokens; lower"),
        ({"host": "192.0.2.1"}, "port 8080 of 192.0.2.1 cannot be listened on (Cannot assign"),
    ],
)
def test_wrong_settings_are_one_line_before_anything_listens(engine, settings, said):
    process = launch(engine, **settings)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said in error
    assert error.count("\n") == 1


def test_a_port_in_use_is_told_in_one_line(engine):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = launch(engine, port=taken.getsockname()[1])
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot be listened on (Address already in use); set DRAWPLATE_HOST or" in error
    assert error.count("\n") == 1


def test_a_probe_asks_past_the_proxy_that_a_machine_names(server):
    port = server.rpartition(":")[2]
    named = {"http_proxy": "http://127.0.0.1:9", "DRAWPLATE_PORT": port, "PYTHONPATH": str(SERVING)}
    command = [sys.executable, "-m", "drawplate_server.probe"]
    subprocess.run(command, env=named, check=True)


def test_it_ends_when_told_and_finishes_what_it_began(engine):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = launch(engine, port=port, max_prompt_tokens=64, max_new_tokens=300)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/ready").close()
            break
        except OSError:
            time.sleep(0.1)
    found: list[int] = []
    asked = {**PROMPT, "max_tokens": 300, "ignore_eos": True}
    thread = threading.Thread(target=lambda: found.append(post(address, asked)[0]))
    thread.start()
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    thread.join()
    assert found == [200]
    assert process.wait(30) in (0, -signal.SIGTERM)


def test_a_fuzzer_finds_no_wrong_status(engine, tmp_path):
    """Requests that the description allows and does not; a prompt's length in tokens it cannot say."""
    with running(engine, max_prompt_tokens=64, max_new_tokens=8) as address:
        command = [str(Path(sys.executable).with_name("schemathesis"))]
        command += ["--config-file", str(SERVING / "schemathesis.toml"), "run", "--no-color"]
        command += ["--max-examples", "60", "--seed", "1", "--phases", "coverage,fuzzing"]
        command += [f"{address}/openapi.json"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-3000:]
        assert urllib.request.urlopen(f"{address}/ready").status == 200
