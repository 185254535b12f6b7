"""A served sentence encoder, in every runtime: its vectors are the engine's own, and what it refuses."""

import base64
import concurrent.futures
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import openai
import pytest
from drawplate_server.embedding import mean_pool, passes
from drawplate_server.encoders import longest_tokens
from tests.tiny_encoders import save_encoder
from tests.unit.serving.conftest import SERVING, launch, running, write_manifest

from drawplate import engines
from drawplate.engines import pooling
from drawplate.engines.tokenizer import load_tokenizer

TEXTS = ["walk home along the river", "sea", "a stone", "three colours, separated by commas: " * 2]
HIDDEN, VOCABULARY = 64, 259


def compiled(folder: Path, runtime: str) -> Path:
    """A served engine: its files and their manifest."""
    checkpoint, model = folder / "checkpoint", folder / "model"
    save_encoder(checkpoint)
    model.mkdir()
    engines.compiler(runtime)(checkpoint, model, {}, 1)
    write_manifest(model)
    return model


def own_vectors(model: Path, runtime: str, texts: list[str]) -> np.ndarray:
    """Each text read by the engine itself, alone."""
    loaded, tokenizer = engines.load(runtime, model, 1), load_tokenizer(model)
    ids = [np.array([tokenizer(text)["input_ids"]]) for text in texts]
    return np.concatenate([loaded.embed(row, np.ones_like(row)) for row in ids])


@pytest.fixture(scope="module")
def onnxruntime(tmp_path_factory) -> Path:
    return compiled(tmp_path_factory.mktemp("encoder"), "onnxruntime")


@pytest.fixture(scope="module")
def server(onnxruntime):
    with running(onnxruntime, max_prompt_tokens=80, max_inputs=40, max_body_bytes=20000) as address:
        yield address


def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def embed(address: str, given, **more) -> np.ndarray:
    found = client(address).embeddings.create(model="model", input=given, **more)
    assert [entry.index for entry in found.data] == list(range(len(found.data)))
    return np.array([entry.embedding for entry in found.data], dtype=np.float32)


def post(address: str, body: dict, route: str = "embeddings"):
    """Status and JSON of an answer, refused or not."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/v1/{route}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_pooling_is_the_engines_own():
    random = np.random.default_rng(0)
    states = random.normal(size=(3, 7, 16)).astype(np.float32)
    mask = (np.arange(7) < np.array([[7], [3], [1]])).astype(np.int64)
    np.testing.assert_array_equal(mean_pool(states, mask), pooling.mean_pool(states, mask))


def test_passes_read_every_text_once_within_their_room():
    lengths = [5, 90, 7, 7, 30, 200, 1]
    found = passes(lengths, 100)
    assert sorted(place for group in found for place in group) == list(range(7))
    assert found[0] == [5]  # longer than the room: alone
    for group in found[1:]:
        assert len(group) * max(lengths[place] for place in group) <= 100
    assert len(found) == 4


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "other"}, None),
    ],
)
def test_the_longest_text_is_what_has_positions(config, longest):
    assert longest_tokens(config) == longest


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_vectors_are_the_engines_own_alone_together_and_beside_others(
    runtime, tmp_path, onnxruntime
):
    model = onnxruntime if runtime == "onnxruntime" else compiled(tmp_path, runtime)
    own = own_vectors(model, runtime, TEXTS)
    with running(model, slots=2, max_queue=100, max_prompt_tokens=80) as address:
        np.testing.assert_allclose(embed(address, TEXTS), own, atol=1e-5)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda text: embed(address, text)[0], TEXTS * 5))
        np.testing.assert_allclose(found, np.tile(own, (5, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(own[0] - own[1]).max() > 0.01


def test_texts_and_token_ids_as_numbers_and_as_bytes_are_the_same(server, onnxruntime):
    tokenizer = load_tokenizer(onnxruntime)
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    vectors = embed(server, TEXTS)
    assert vectors.shape == (len(TEXTS), HIDDEN)
    np.testing.assert_array_equal(embed(server, ids), vectors)
    np.testing.assert_array_equal(embed(server, TEXTS, encoding_format="float"), vectors)
    np.testing.assert_array_equal(embed(server, TEXTS, dimensions=HIDDEN), vectors)
    np.testing.assert_array_equal(embed(server, ids[0]), embed(server, TEXTS[0]))
    _, answer = post(server, {"model": "model", "input": "sea", "encoding_format": "base64"})
    raw = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_array_equal(raw, embed(server, "sea")[0])


def test_usage_counts_the_tokens_and_a_text_is_neither_cut_nor_filled_up(server):
    """The tokenizer's file asks for both, at 40 tokens, as those of sentence encoders do."""
    found = client(server).embeddings.create(model="model", input=["a", "b" * 60])
    assert found.usage.prompt_tokens == found.usage.total_tokens == 3 + 62
    assert found.model == "model"


def test_many_texts_of_all_lengths_come_back_in_their_places(server):
    texts = ["x" * (1 + 17 * i % 70) + str(i) for i in range(40)]
    together = embed(server, texts)
    for place in (0, 7, 39):
        np.testing.assert_allclose(together[place], embed(server, texts[place])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"input": "x" * 100}, 400, "input 0 has 102 tokens; 80 are allowed"),
        ({"input": ["a", [5] * 90]}, 400, "input"),
        ({"input": [[5], [5] * 90]}, 400, "input 1 has 90 tokens; 80 are allowed"),
        ({"input": ["a"] * 41}, 400, "41 inputs are given; 40 are allowed"),
        ({"input": [5, VOCABULARY]}, 400, f"token ids end at {VOCABULARY - 1}"),
        ({"input": []}, 400, "input"),
        ({"input": ""}, 400, "input"),
        ({"input": [""]}, 400, "input"),
        ({"input": [[]]}, 400, "input"),
        ({"input": ["a", 5]}, 400, "input"),
        ({"input": None}, 400, "input"),
        ({"input": "x" * 30000}, 413, "larger than 20000 bytes"),
        ({"dimensions": 32}, 400, "the vectors have 64 dimensions"),
        ({"encoding_format": "hex"}, 400, "encoding_format"),
        ({"model": "other"}, 404, "the model served here is model"),
        ({"prompt": "a"}, 400, "prompt is not known here"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_and_the_next_is_answered(server, change, status, said):
    found, body = post(server, {"model": "model", "input": "a", **change})
    assert found == status
    assert said in body["error"]["message"]
    assert body["error"]["type"] == "invalid_request_error"
    assert post(server, {"model": "model", "input": "a"})[0] == 200


def test_it_has_no_route_of_a_language_model_and_counts_what_it_answers(server):
    assert post(server, {"model": "model", "prompt": "a"}, "completions")[0] == 404
    assert [model.id for model in client(server).models.list()] == ["model"]
    assert json.load(urllib.request.urlopen(f"{server}/ready"))["status"] == "ready"
    described = json.load(urllib.request.urlopen(f"{server}/openapi.json"))["paths"]
    assert [path for path in described if path.startswith("/v1")] == [
        "/v1/models",
        "/v1/models/{name}",
        "/v1/embeddings",
    ]
    metrics = urllib.request.urlopen(f"{server}/metrics").read().decode()
    assert 'drawplate_requests_total{route="/v1/embeddings",status="200"}' in metrics
    assert "drawplate_e2e_request_latency_seconds_bucket" in metrics


def test_a_language_model_has_no_embeddings(engine):
    with running(engine, max_prompt_tokens=64) as address:
        assert post(address, {"model": "model", "input": "a"})[0] == 404
        described = json.load(urllib.request.urlopen(f"{address}/openapi.json"))
        assert "/v1/embeddings" not in described["paths"]


def test_a_full_queue_and_a_time_that_is_over_have_their_own_status(onnxruntime):
    body = {"model": "model", "input": ["x" * 100] * 200, "encoding_format": "base64"}
    limits = {"max_prompt_tokens": 110, "slots": 1, "max_queue": 1, "timeout_s": 60}
    with running(onnxruntime, **limits) as address:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: post(address, body)[0], range(24)))
        assert sorted(set(found)) == [200, 429]
        assert post(address, {"model": "model", "input": "a"})[0] == 200


def test_a_key_is_asked_for_where_one_is_set(onnxruntime, tmp_path):
    (tmp_path / "key").write_text("s3cret\n")
    with running(onnxruntime, api_key_file=tmp_path / "key", max_prompt_tokens=80) as address:
        assert post(address, {"model": "model", "input": "a"})[0] == 401


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_prompt_tokens": 129}, "the model takes 128 tokens; lower DRAWPLATE_MAX_PROMPT"),
        ({"max_inputs": 0}, "DRAWPLATE_MAX_INPUTS is 0; write 1 or more"),
    ],
)
def test_wrong_settings_are_one_line_before_anything_listens(onnxruntime, change, said):
    process = launch(onnxruntime, **change)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error.count("\n")) == (1, 1)
    assert said in error


def test_a_fuzzer_finds_no_wrong_status(onnxruntime, tmp_path):
    """Requests that the description allows and does not; a text's length in tokens it cannot say."""
    with running(onnxruntime, max_prompt_tokens=64, max_inputs=8) as address:
        command = [str(Path(sys.executable).with_name("schemathesis"))]
        command += ["--config-file", str(SERVING / "schemathesis.toml"), "run", "--no-color"]
        command += ["--max-examples", "60", "--seed", "1", "--phases", "coverage,fuzzing"]
        command += [f"{address}/openapi.json"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-3000:]
        assert urllib.request.urlopen(f"{address}/ready").status == 200
