"""How a trial judges a server: its answers against the engine's own, and what it says as it dies.

The server here is a few lines that stand in for one, since what is looked at is the trial; that
vLLM's and FastChat's own servers answer is tried in `tests/workflow/test_bundles.py`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.tiny import write_model

from drawplate.bundle.trial import own_answers, tidy, try_bundle
from drawplate.errors import DrawplateError

SERVER = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
print("noise\\nValueError: what went wrong\\nlast line", flush=True)
if sys.argv[1] == "dies":
    raise SystemExit(1)
known = json.loads(open(sys.argv[1]).read())
class Handler(BaseHTTPRequestHandler):
    def say(self, value):
        body = json.dumps(value).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        self.say({"data": [{"id": "m"}]})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["temperature"] == 0 and asked["max_tokens"] == 6
        if "messages" in asked:
            text = known[asked["messages"][0]["content"]]
            self.say({"choices": [{"message": {"content": text}}]})
        else:
            self.say({"choices": [{"text": known[asked["prompt"]]}]})
    def log_message(self, *words): pass
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
PROMPTS = ["the river", "count them"]
NAP = f"300.{os.getpid()}"  # of this process alone: others run the same tests beside it


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trial") / "model"
    write_model(folder)
    return folder


def tried(tmp_path: Path, model: Path, word: str, *, chat: bool = True, cleans: bool = False):
    (tmp_path / "server.py").write_text(SERVER)
    script = tmp_path / "launch.sh"
    script.write_text(
        f'#!/bin/sh\nsleep {NAP} &\nexec "{sys.executable}" "{tmp_path}/server.py" "$@"\n'
    )
    script.chmod(0o755)
    trial = {"arguments": [word], "variables": {"A": "1"}, "chat": chat, "cleans": cleans}
    process = {"program": ["x"], "arguments": [], "port": 1, "model": True}
    server = {"processes": {"server": process}, "variables": {"HOME": "/tmp"}, "trial": trial}
    config = {"server": server, "prompts": PROMPTS, "new_tokens": 6, "ready_s": 20}
    facts = {"source": str(model), "name": "m"}
    return try_bundle(tmp_path, facts, config, Path(sys.executable), 2)


def answers(tmp_path: Path, model: Path, *, chat: bool, change=lambda i, text: text) -> str:
    import json

    expected, asked = own_answers(model, PROMPTS, 6, 2, chat)
    keys = [a["messages"][0]["content"] if chat else a["prompt"] for a in asked]
    known = {key: change(i, text) for i, (key, text) in enumerate(zip(keys, expected, strict=True))}
    (tmp_path / "known.json").write_text(json.dumps(known))
    return str(tmp_path / "known.json")


def sleepers() -> int:
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes() == f"sleep\0{NAP}\0".encode()
        except OSError:
            continue
    return found


@pytest.mark.parametrize("chat", [True, False])
def test_answers_that_are_the_engine_s_own_are_counted(tmp_path, model, chat):
    before = sleepers()
    result = tried(tmp_path, model, answers(tmp_path, model, chat=chat), chat=chat)
    assert (result["same"], result["requests"]) == (2, 2)
    assert result["ready_s"] > 0
    assert [row["prompt"] for row in result["golden"]] == PROMPTS
    deadline = time.monotonic() + 5
    while sleepers() > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sleepers() <= before  # whatever the script started ended with it


def test_without_chat_the_server_is_sent_what_the_template_makes(model):
    _, asked = own_answers(model, PROMPTS, 2, 2, False)
    assert asked[0] == {"prompt": "<|im_start|>user\nthe river<|im_end|>\n<|im_start|>assistant\n"}
    _, asked = own_answers(model, PROMPTS, 2, 2, True)
    assert asked[0] == {"messages": [{"role": "user", "content": "the river"}]}


def test_one_other_answer_is_told_and_all_others_are_a_failure(tmp_path, model):
    file = answers(tmp_path, model, chat=True, change=lambda i, text: text if i else "nonsense")
    result = tried(tmp_path, model, file)
    assert [row["same"] for row in result["golden"]] == [False, True]
    file = answers(tmp_path, model, chat=True, change=lambda i, text: "nonsense")
    with pytest.raises(
        DrawplateError, match=r"the server answers 'nonsense' to 'the river'.*no other"
    ):
        tried(tmp_path, model, file)


def test_spaces_that_the_server_tidies_are_no_difference(tmp_path, model):
    assert tidy(" a , b .") == "a, b." and tidy("do n't") == "don't"
    file = answers(tmp_path, model, chat=False, change=lambda i, text: f" {text} ")
    assert tried(tmp_path, model, file, chat=False, cleans=True)["same"] == 2
    with pytest.raises(DrawplateError):
        tried(tmp_path, model, file, chat=False, cleans=False)


def test_a_server_that_ends_is_told_with_what_it_said(tmp_path, model):
    with pytest.raises(DrawplateError, match="ended before it was ready: ValueError: what went wr"):
        tried(tmp_path, model, "dies")
    assert os.environ.get("A") is None


STARTED = """
import sys, time
from pathlib import Path
from drawplate.bundle.trial import started
process = {"program": ["x"], "arguments": [], "port": 1, "model": True}
trial = {"arguments": [], "variables": {}}
server = {"processes": {"server": process}, "variables": {}, "trial": trial}
with started(Path(sys.argv[1]), {"server": server}, Path(sys.executable), 1):
    print("started", flush=True)
    time.sleep(60)
"""


def test_a_trial_that_is_told_to_end_ends_its_server(tmp_path):
    script = tmp_path / "launch.sh"
    script.write_text(f"#!/bin/sh\nsleep {NAP} &\nwait\n")
    script.chmod(0o755)
    command = [sys.executable, "-c", STARTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        while not sleepers():
            time.sleep(0.1)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert sleepers() == 0
