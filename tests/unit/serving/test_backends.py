"""Every runtime behind the server: answers are the engine's own, alone and beside others."""

import concurrent.futures
import time

import numpy as np
import openai
import pytest
from tests.tiny import write_model
from tests.unit.serving.conftest import launch, running, write_manifest

from drawplate import engines
from drawplate.engines.tokenizer import load_tokenizer

PROMPTS = [[3 + (7 * i + 5 * j) % 60 for j in range(4 + 9 * i)] for i in range(6)]
EXACT = {
    "onnxruntime": {"accuracy_level": 0},
    "openvino": {},
    # Passes of several sessions add up in another order: in float32 that shows in no token.
    "llamacpp": {"kv_cache_dtype": "float32"},
}


@pytest.fixture(scope="module", params=EXACT)
def served(request, tmp_path_factory):
    """An engine's folder, its greedy answers to `PROMPTS`, and its server's address with three slots."""
    checkpoint, folder = (tmp_path_factory.mktemp("backend") / n for n in ("checkpoint", "model"))
    write_model(checkpoint)
    folder.mkdir()
    engines.compiler(request.param)(checkpoint, folder, EXACT[request.param], 1)
    loaded = engines.load(request.param, folder, 1)
    tokenizer = load_tokenizer(folder)
    own = [
        tokenizer.decode(loaded.generate(np.array([ids]), 24)[0], skip_special_tokens=True)
        for ids in PROMPTS
    ]
    write_manifest(folder)
    with running(folder, slots=3, max_prompt_tokens=64, max_new_tokens=24) as address:
        yield own, openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def answer(client, ids):
    """A greedy answer's text, and the log-probabilities of its tokens."""
    found = client.completions.create(
        model="model",
        prompt=ids,
        max_tokens=24,
        temperature=0,
        logprobs=1,
        extra_body={"ignore_eos": True},
    )
    return found.choices[0].text, found.choices[0].logprobs.token_logprobs


def test_greedy_answers_are_the_engines_own(served):
    own, client = served
    assert [answer(client, ids)[0] for ids in PROMPTS] == own
    assert len(set(own)) > 1


def test_answers_beside_others_are_those_alone(served):
    _, client = served
    alone = [answer(client, ids) for ids in PROMPTS]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        beside = list(pool.map(lambda ids: answer(client, ids), PROMPTS * 3))
    for (text, scores), (other, other_scores) in zip(alone * 3, beside, strict=True):
        assert other == text
        np.testing.assert_allclose(other_scores, scores, atol=1e-3)


def test_a_client_that_leaves_gives_its_place_back(served):
    _, client = served
    for _ in range(5):
        stream = client.completions.create(
            model="model", prompt=PROMPTS[0], max_tokens=24, stream=True
        )
        next(iter(stream))
        stream.close()
    time.sleep(0.5)
    assert answer(client, PROMPTS[1])


@pytest.mark.parametrize(
    ("engine", "tokenizer", "said"),
    [
        ('{"engine": "openvino", "task": "speech"}', None, "holds a speech"),
        ('{"engine": "llamacpp", "task": "encoder"}', None, "has no server for encoders here"),
        ('{"engine": "onnxruntime", "task": "encoder"}', None, "ONNX Runtime does not load"),
        (
            '{"engine": "openvino", "task": "encoder", "inference_precision": "f32",'
            ' "dynamic_quantization_group_size": 0}',
            None,
            "OpenVINO does not load",
        ),
        ('{"engine": "vllm", "task": "causal-lm"}', None, "engine vllm has no server here"),
        ('{"engine": "openvino", "task": "causal-lm"}', "{}", "tokenizer.json cannot be read"),
        (
            '{"engine": "llamacpp", "task": "causal-lm", "kv_cache_dtype": "float16"}',
            None,
            "llama.cpp does not load",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(engine, tokenizer, said, tmp_path):
    folder = tmp_path / "model"
    write_model(folder)
    (folder / "engine.json").write_text(engine)
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer)
    write_manifest(folder)
    process = launch(folder, port=1, max_prompt_tokens=8, max_new_tokens=8)
    assert process.wait(60) == 1
    errors = process.stderr.read().strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert said in errors[0]
