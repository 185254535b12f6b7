"""A server that is told to end: what is inside is answered, readiness goes first, then the door."""

import http.client
import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.unit.serving.conftest import launch

BODY = {"model": "model", "prompt": "walk home along the river", "temperature": 0}


@pytest.fixture
def server(engine):
    """Start one with settings; its process and address."""
    processes = []

    def start(**settings):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        process = launch(engine, port=port, max_queue=100, max_prompt_tokens=64, **settings)
        processes.append(process)
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            if status(f"{address}/ready") == 200:
                return process, address
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        raise AssertionError("not ready")

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def status(url: str, body: dict | None = None) -> int | None:
    """Status of an answer; None if there was no connection."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, OSError):
        return None


def inside(address: str) -> float:
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return float(next(x for x in lines if x.startswith("drawplate_requests_inside ")).split()[1])


def ask_many(address: str, count: int) -> tuple[list[threading.Thread], list[int | None]]:
    found: list[int | None] = []
    body = {**BODY, "max_tokens": 200, "ignore_eos": True}

    def one():
        found.append(status(f"{address}/v1/completions", body))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, found


@pytest.mark.parametrize("delay", [0, 1.5])
def test_all_that_is_inside_is_answered_though_one_slot_works_through_a_queue(server, delay):
    process, address = server(drain_delay_s=delay)
    threads, found = ask_many(address, 30)
    while inside(address) < 10:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(120)
    assert found == [200] * 30
    assert process.wait(30) == 0


def test_it_says_that_it_is_not_ready_while_it_still_answers_then_refuses(server):
    process, address = server(drain_delay_s=2)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert status(f"{address}/ready") == 503
    assert status(f"{address}/health") == 200
    # urllib would ask for the end of the connection itself.
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    body = json.dumps({**BODY, "max_tokens": 2})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        assert (response.status, response.headers["connection"]) == (200, "close")
    assert process.wait(30) == 0
    assert status(f"{address}/ready") is None


def test_a_second_signal_closes_the_door_at_once(server):
    process, address = server(drain_delay_s=600)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    process.wait(30)
    assert status(f"{address}/health") is None


def test_a_signal_while_it_still_loads_ends_it(engine):
    """As the first process of a container it would ignore a signal that it does not handle."""
    process = launch(engine, port=1, max_prompt_tokens=64)
    handled = 1 << (signal.SIGTERM - 1)
    deadline = time.monotonic() + 60
    while not _caught(process.pid) & handled:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def _caught(pid: int) -> int:
    """The signals that a process handles, a bit each."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith("SigCgt")).split()[1], 16)
