"""What stands in a bundle: it is whole, says only what is there, and its script starts all of it."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tests.tiny_engines import save_llama
from transformers import AutoConfig

from drawplate.artifacts.audit import audit
from drawplate.artifacts.manifest import write_manifest
from drawplate.bundle.launch import SCRIPT, filled
from drawplate.bundle.model import older, older_tokenizer
from drawplate.bundle.write import write_bundle
from drawplate.config.compose import load

ROOT = Path(__file__).parents[3]
SERVERS = ("vllm", "tensorrt_llm", "tgi", "fastchat")
VARIANT = {
    "name": "float-vllm-cpu",
    "engine": "vllm",
    "quality": {"source": "engine", "perplexity": {"value": 12.3456}},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """An engine folder that is a checkpoint, as those of vllm and tensorrt_llm are."""
    folder = save_llama(tmp_path_factory.mktemp("bundle") / "source", tied=True)
    (folder / "engine.json").write_text(json.dumps({"engine": "vllm", "dtype": "bfloat16"}))
    write_manifest(
        folder, kind="engine", name="base/vllm-cpu", parent=None, step=None, key={}, tools={},
        command="", format=audit(folder), started=time.monotonic(),
    )  # fmt: skip
    (folder / "0123456789abcdef.key").touch()
    return folder


def config_of(name: str) -> dict:
    build = load(ROOT / "conf", "servers", [])
    server = build.bundle_servers[name]
    plain = server.model_dump(mode="json", by_alias=True, exclude={"trial"})
    tried_in = server.trial.environment if server.trial else None
    return {
        "server": {**plain, "tried_in": tried_in},
        **{k: build.bundle[k] for k in ("limits", "port", "start_s")},
        "max_prompt_tokens": 1024,
        "max_new_tokens": 256,
    }


@pytest.fixture(params=SERVERS)
def bundle(request, source, tmp_path) -> tuple[str, Path]:
    write_bundle(ROOT, source, VARIANT, config_of(request.param), "tiny", tmp_path)
    return request.param, tmp_path


def test_the_compose_file_fits_the_specification(bundle):
    path = bundle[1] / "compose.yaml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_containers_are_hardened_and_whatever_they_read_is_in_the_bundle(bundle):
    folder = bundle[1]
    written = yaml.safe_load((folder / "compose.yaml").read_text())
    holders = []
    for service in written["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["mem_limit"] and service["pids_limit"]
        if "build" in service:
            dockerfile = folder / service["build"]["dockerfile"]
            for copied in re.findall(r"^COPY (\S+)", dockerfile.read_text(), re.MULTILINE):
                assert (folder / copied).is_file()
        else:
            assert ":" in service["image"].split("/")[-1]
        for volume in service.get("volumes", []):
            place, _, mode = volume.split(":")
            assert (folder / place / "config.json").is_file() and mode == "ro"
            holders.append(service)
    (holder,) = holders
    devices = holder["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]
    front = list(written["services"].values())[-1]
    assert front["ports"][0].startswith("127.0.0.1:")
    assert front["healthcheck"]["test"][0] == "CMD"
    told = [str(word) for s in written["services"].values() for word in s["command"]]
    assert "/model" in told
    assert not [word for word in told if re.fullmatch(r"\{\w+\}", word)]


def test_the_script_is_a_shell_s_and_names_only_what_is_there(bundle):
    folder = bundle[1]
    script = folder / SCRIPT
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
    text = script.read_text()
    assert not re.search(r"[^$]\{(model|name|context|host|port|dtype)\}", text)
    assert re.search(r"(--model|--model-id|--model-path|serve) model\b", text)
    assert (folder / "model" / "model.safetensors").is_file()
    assert (folder / "model" / "tokenizer.json").is_file()
    left = {p.name for p in (folder / "model").iterdir()}
    assert not left & {"manifest.json", "engine.json"}
    assert not [n for n in left if n.endswith(".key")]


def test_weights_share_their_bytes_with_the_source_and_the_source_is_not_changed(bundle, source):
    found = (bundle[1] / "model" / "model.safetensors").stat()
    assert found.st_ino == (source / "model.safetensors").stat().st_ino
    own = json.loads((source / "config.json").read_text())
    there = json.loads((bundle[1] / "model" / "config.json").read_text())
    assert ("rope_parameters" in there) == (bundle[0] in ("vllm", "tensorrt_llm"))
    assert "rope_parameters" in own


def test_the_readme_says_what_it_is_how_it_starts_and_how_the_project_is(bundle):
    name, folder = bundle
    text = (folder / "README.md").read_text()
    server = config_of(name)["server"]
    assert "perplexity 12.35 as measured on vllm" in text
    assert server["state"]["as_of"] in text and server["state"]["sources"][0] in text
    assert server["loads"] in text
    for process in server["processes"].values():
        assert " ".join(process["program"]) in text
    assert "{" not in text


def test_the_lengths_are_those_of_the_model_where_it_takes_less(bundle):
    text = (bundle[1] / SCRIPT).read_text()
    if bundle[0] != "fastchat":
        assert "512" in text  # of the tiny model; 1,280 are allowed
    if bundle[0] == "tgi":
        assert "--max-input-tokens 256 --max-total-tokens 512" in text


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 100000.0},
        {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    ],
    ids=lambda rope: rope["rope_type"],
)
def test_an_older_config_says_the_same_in_older_words(tmp_path, rope):
    folder = save_llama(tmp_path / "new", tied=True)
    config = json.loads((folder / "config.json").read_text()) | {"rope_parameters": rope}
    found = older(config)
    assert found["rope_theta"] == rope["rope_theta"]
    assert (found["rope_scaling"] or {}).get("factor") == rope.get("factor")
    assert found["torch_dtype"] == config["dtype"]
    assert not {"rope_parameters", "dtype"} & set(found)
    # The newer library reads both, and as the same.
    (folder / "config.json").write_text(json.dumps(found))
    again = AutoConfig.from_pretrained(folder)
    assert {k: again.rope_parameters[k] for k in rope} == rope


def test_an_older_tokenizer_names_a_class_that_was_known_and_has_its_template():
    newer = {"backend": "tokenizers", "tokenizer_class": "TokenizersBackend", "eos_token": "</s>"}
    newer["extra_special_tokens"] = ["<a>"]
    assert older_tokenizer(newer, "{{ x }}") == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "additional_special_tokens": ["<a>"],
        "chat_template": "{{ x }}",
    }
    own = {"tokenizer_class": "LlamaTokenizer", "chat_template": "its own"}
    assert older_tokenizer(own, "another") == own
    assert "chat_template" not in older_tokenizer({}, None)


def test_braces_that_are_no_placeholder_stay():
    assert filled(["{a}", "{b}x", '{"c": 1}'], {"a": "1"}) == ["1", "{b}x", '{"c": 1}']


def stand_in(folder: Path, body: str) -> dict[str, str]:
    """A `python3` that is found first: only how the script calls programs is looked at here."""
    folder.mkdir()
    program = folder / "python3"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{folder}/called"\n{body}\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PORT": "9001"}


def test_the_script_passes_what_follows_it_to_the_program_that_loads_the_model(source, tmp_path):
    write_bundle(ROOT, source, VARIANT, config_of("vllm"), "tiny", tmp_path)
    env = stand_in(tmp_path / "bin", "exit 0")
    done = subprocess.run([tmp_path / SCRIPT, "--enforce-eager"], env=env, cwd="/", timeout=20)
    assert done.returncode == 0
    (called,) = (tmp_path / "bin" / "called").read_text().splitlines()
    assert called.startswith("-m vllm.entrypoints.openai.api_server --model model ")
    assert "--dtype bfloat16" in called
    assert called.endswith("--host 127.0.0.1 --port 9001 --enforce-eager")


def test_a_script_of_several_processes_ends_with_the_first_that_ends(source, tmp_path):
    write_bundle(ROOT, source, VARIANT, config_of("fastchat"), "tiny", tmp_path)
    body = 'case "$*" in *model_worker*) exit 3;; esac; exec sleep 60'
    env = stand_in(tmp_path / "bin", body)
    begun = time.monotonic()
    done = subprocess.run([tmp_path / SCRIPT, "--device", "cpu"], env=env, timeout=20)
    assert done.returncode == 1
    assert time.monotonic() - begun < 15
    called = (tmp_path / "bin" / "called").read_text().splitlines()
    assert len(called) == 3
    (worker,) = (line for line in called if "model_worker" in line)
    assert worker.endswith("--model-names tiny --device cpu")
    assert "--controller-address http://127.0.0.1:21001" in worker
