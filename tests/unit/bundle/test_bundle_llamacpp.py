"""The bundle for llama.cpp, and its own server, as the wheel of its library has it, on the same file."""

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.tiny import write_model
from tests.unit.bundle.test_bundle_real import ROOT, VARIANT, finished

from drawplate import engines
from drawplate.bundle.write import write_bundle
from drawplate.config.compose import load
from drawplate.package.serve import ask, own_answers

PROMPTS = ["The river ran past", "Count the numbers in a ledger"]
NEW_TOKENS = 12


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> tuple[Path, Path]:
    """The engine's folder, and a bundle of it."""
    folder = tmp_path_factory.mktemp("llamacpp")
    checkpoint, engine, made = (folder / name for name in ("checkpoint", "engine", "bundle"))
    write_model(checkpoint)
    engine.mkdir()
    made.mkdir()
    build = load(ROOT / "conf", "smollm2-llamacpp", ["bundle.build=[llamacpp]"])
    options = {**build.engines["llamacpp"].options, "kv_cache_dtype": "float32"}
    label = engines.compiler("llamacpp")(finished(checkpoint, "checkpoint"), engine, options, 2)
    plain = build.bundle_servers["llamacpp"].model_dump(mode="json", by_alias=True)
    config = {
        "server": {**plain, "tried_in": None},
        **{k: build.bundle[k] for k in ("limits", "port", "start_s")},
        **{"max_prompt_tokens": 200, "max_new_tokens": 40},
    }
    variant = {**VARIANT, "engine": "llamacpp"}
    write_bundle(ROOT, finished(engine, "engine", "llamacpp", label), variant, config, "tiny", made)
    return engine, made


def whole(answer: str) -> str:
    return answer.rstrip("\N{REPLACEMENT CHARACTER}")


def test_it_is_started_on_the_file(bundle):
    _, folder = bundle
    service = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["server"]
    assert service["command"][:4] == ["--model", "/model/model.gguf", "--alias", "tiny"]
    assert "deploy" not in service, "no GPU is asked for"
    launch = folder / "launch.sh"
    assert "llama-server --model model/model.gguf" in launch.read_text()
    subprocess.run(["sh", "-n", launch], check=True)


def test_llama_cpps_own_server_answers_as_the_engine_itself(bundle):
    import xllamacpp

    engine, folder = bundle
    params = xllamacpp.CommonParams()
    params.model.path = str(folder / "model/model.gguf")
    params.model_alias = "tiny"
    params.n_ctx, params.n_parallel, params.port = 240, 1, 0
    params.cpuparams.n_threads = 2
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    own, chat = own_answers(engine, PROMPTS, NEW_TOKENS, 2)
    found = ask(server.listening_address, "tiny", PROMPTS, NEW_TOKENS, chat)
    assert [answer["error"] for answer in found] == [None] * len(PROMPTS)
    # It holds back the bytes of a letter that is not whole yet, and so the last one of a cut answer.
    assert list(map(whole, (answer["answer"] for answer in found))) == list(map(whole, own))
    assert all(map(whole, own))
