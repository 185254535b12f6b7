"""From a tiny experiment to an image that was run, and what becomes of it when a byte changes.

Needs podman and mmdebstrap, and to be root.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from drawplate.artifacts.manifest import read_manifest
from drawplate.deploy.rolling import Rolling, load
from drawplate.deploy.steady import play
from drawplate.errors import DrawplateError
from drawplate.package import tools
from drawplate.package.context import copy_model
from drawplate.package.image import blob
from tests.workflow.conftest import ROOT, Checkout, make_tiny
from tests.workflow.test_encoder_tree import make_encoder

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not all(map(shutil.which, ("podman", "mmdebstrap")))
        or os.geteuid() != 0
        or not (ROOT / ".venv-guidellm" / ".ready").exists(),
        reason="needs podman, mmdebstrap, root and make guidellm",
    ),
]
LIMITS = "package.limits={threads: 1, slots: 1, max_queue: 4, max_prompt_tokens: 64, max_new_tokens: 32, timeout_s: 60}"
LOAD = "package.load={concurrency: [1, 2], warmup_seconds: 1, seconds: 2, prompt_tokens: 16, new_tokens: 8, trace: requests.csv, first_token_ms: 5000}"
OVERRIDES = (
    "package.build=true",
    LIMITS,
    LOAD,
    "package.signing_key=key.pem",
    "gate.max_kl_nats=null",
)
IMAGE = "artifacts/tiny/image"
# The tokens of the tiny encoder are bytes, and GuideLLM counts words by them.
ENCODER_LIMITS = LIMITS.replace("max_prompt_tokens: 64", "max_prompt_tokens: 500")


def stored() -> list[set[str]]:
    """Ids of the images and containers in podman's store."""
    commands = (["podman", "images", "--quiet"], ["podman", "ps", "--all", "--quiet"])
    return [set(subprocess.check_output(c, text=True).split()) for c in commands]


@pytest.fixture(scope="module")
def stored_before() -> list[set[str]]:
    return stored()


@pytest.fixture(scope="module")
def packaged(tmp_path_factory, stored_before) -> Checkout:
    checkout = make_tiny(tmp_path_factory.mktemp("package") / "drawplate")
    (checkout.path / ".venv-guidellm").symlink_to(ROOT / ".venv-guidellm")
    command = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
    subprocess.run(command.split(), cwd=checkout.path, check=True)
    write_requests(checkout.path / "requests.csv")
    result = checkout.snakemake(overrides=OVERRIDES)
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def write_requests(path: Path) -> None:
    """Lengths of a real trace where it lies beside the checkout, an eighth of each; else others."""
    trace = ROOT.parent / "shared/data/serving/azure_llm_conv_2023.csv"
    rows = [("0", "96", "40"), ("1", "240", "64"), ("2", "9000", "80")]
    if trace.exists():
        rows = [tuple(line.split(",")) for line in trace.read_text().splitlines()[1:400]]
    lines = [f"{s},{max(1, int(p) // 8)},{max(1, int(n) // 8)}" for s, p, n in rows]
    path.write_text("\n".join(["t_s,input_tokens,output_tokens", *lines]) + "\n")


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry of the distribution's package on this machine's loopback; its address."""
    port = free_port()
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    folder.mkdir()
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    process = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"])
    try:
        asked(f"http://127.0.0.1:{port}/v2/")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def asked(address: str, seconds: float = 60.0) -> dict:
    """What an address answers, once it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=2) as response:
                return json.load(response)
        except OSError:
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def image_of(checkout: Checkout) -> dict:
    return json.loads((checkout.path / IMAGE / "manifest.json").read_text())["image"]


def test_the_container_answered_as_the_engine_and_the_report_says_so(packaged):
    report = json.loads((packaged.path / "results/tiny/report.json").read_text())
    package, image = report["package"], image_of(packaged)
    assert package["served"]["failed"] == 0
    assert len(package["golden"]) == 3
    assert [level["concurrency"] for level in package["levels"]] == [1, 2]
    for level in package["levels"]:
        assert level["requests"] > 0
        assert level["first_token_ms"]["p50"] <= level["first_token_ms"]["p99"]
    lengths = package["load"]["lengths"]
    assert 0 < lengths["prompt_tokens_median"] < 64
    assert lengths["left_out"] > 0
    asked = sum(level["requests"] for level in package["levels"])
    assert package["served"]["requests"] == 3 + asked
    assert package["served"]["tokens_per_s"] > 0
    assert (package["longest"]["prompt_tokens"], package["longest"]["failed"]) == (64, 0)
    assert 10**7 < package["peak_bytes"] < 2 * 10**9
    assert (package["digest"], package["signed"]) == (image["digest"], True)
    assert package["variant"] in [v["name"] for v in report["variants"] if v["gate"]["passed"]]
    assert "The serving image" in (packaged.path / "results/tiny/report.html").read_text()


def test_a_second_run_does_nothing_and_another_limit_builds_the_image_alone(packaged):
    assert packaged.planned(overrides=OVERRIDES) == set()
    other = [word.replace("timeout_s: 60", "timeout_s: 61") for word in OVERRIDES]
    assert packaged.planned(overrides=tuple(other)) == {"package", "serve", "deploy", "report"}


def test_the_deployment_is_sized_by_the_sweep_and_lies_beside_the_image(packaged):
    report = json.loads((packaged.path / "results/tiny/report.json").read_text())
    folder = packaged.path / IMAGE / "deploy"
    deployment = yaml.safe_load((folder / "kubernetes/deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(image_of(packaged)["digest"])
    allowed = int(container["resources"]["limits"]["memory"].removesuffix("Mi")) * 2**20
    assert 1.25 <= allowed / report["package"]["peak_bytes"] < 1.5
    # The processors of the sweep are read from the container's control group.
    assert all(0 < level["cpus"] < 1.5 for level in report["package"]["levels"])
    scaled = yaml.safe_load((folder / "kubernetes/autoscaler.yaml").read_text())["spec"]["metrics"]
    assert 0 < scaled[0]["resource"]["target"]["averageUtilization"] <= 70
    for name in ("kubernetes/kustomization.yaml", "compose.yaml"):
        assert (folder / name).exists()


def test_pilot_and_production_reckon_with_the_load_that_it_was_tried_under(packaged):
    report = json.loads((packaged.path / "results/tiny/report.json").read_text())
    assert report["cost"]["sweep"]["variant"] == report["package"]["variant"]
    config = ["experiment=tiny", f"overrides={json.dumps(list(OVERRIDES))}"]
    for phase in ("pilot", "production"):
        result = packaged.run("snakemake", "--profile", "cpu", "--config", *config, "--", phase)
        assert result.returncode == 0, result.stdout + result.stderr
        page = json.loads((packaged.path / f"results/tiny/{phase}.json").read_text())
        assert report["package"]["variant"] in page["question"]
        told = dict(page["tables"][1]["rows"])
        rates = [
            level["requests_per_s"] for level in report["package"]["levels"] if level["within"]
        ]
        assert told["requests/s that it sustained so"] == max(rates, default=None)
    assert packaged.planned(overrides=OVERRIDES) == set()


def test_each_part_is_a_layer_of_its_own_and_the_bill_lists_them(packaged):
    image = image_of(packaged)
    assert len(image["layers"]) == 4  # base, packages, server, model
    bill = json.loads((packaged.path / IMAGE / "sbom.json").read_text())
    names = {component["name"] for component in bill["components"]}
    assert {"onnxruntime-genai", "fastapi", "libc6", "python3-minimal", "prose"} <= names
    (model,) = (c for c in bill["components"] if c["type"] == "machine-learning-model")
    assert model["pedigree"]["ancestors"][-1]["name"] == "tiny"
    assert model["licenses"]


def test_an_image_that_was_deleted_is_made_again_and_is_the_same(packaged):
    before = image_of(packaged)
    shutil.rmtree(packaged.path / IMAGE)
    result = packaged.snakemake(overrides=OVERRIDES)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {**image_of(packaged), "signed": None} == {**before, "signed": None}
    assert (packaged.path / IMAGE / "deploy/kubernetes/deployment.yaml").exists()


def test_verify_accepts_it_and_refuses_a_flipped_byte(packaged):
    good = packaged.drawplate("verify", IMAGE)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "signed" in good.stdout
    assert packaged.drawplate("verify", f"{IMAGE}/deploy").returncode == 0
    for word in (image_of(packaged)["digest"], "localhost/drawplate/tiny:built", IMAGE):
        whence = packaged.drawplate("whence", word)
        assert whence.returncode == 0, whence.stderr
        assert "base" in whence.stdout
    path = blob(packaged.path / IMAGE, image_of(packaged)["layers"][-1]["digest"])
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    bad = packaged.drawplate("verify", IMAGE)
    path.write_bytes(content)
    assert bad.returncode == 1
    assert f"{path.name}: content differs" in bad.stdout


def test_a_container_with_another_model_than_the_signed_one_does_not_start(packaged, tmp_path):
    """The folder is mounted over the image's own, as an attacker of the host might."""
    loaded = tools.load(packaged.path / IMAGE, image_of(packaged)["tag"])
    engine = packaged.path / image_of(packaged)["engine_path"]
    shutil.copytree(engine, tmp_path / "model")
    limits = tools.Limits(1024, 1)
    command = [
        "podman",
        "run",
        "--rm",
        "--read-only",
        f"--volume={tmp_path}/model:/srv/drawplate/model:ro",
    ]
    command += [
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=512:512",
        f"--memory={limits.memory_megabytes}m",
    ]
    done = subprocess.run([*command, loaded], capture_output=True, text=True)
    tools.forget(loaded)
    assert done.returncode == 1
    assert "error: /srv/drawplate/model/" in done.stderr


@pytest.mark.skipif(
    not all(map(shutil.which, ("docker-registry", "skopeo"))),
    reason="needs docker-registry and skopeo",
)
def test_a_registry_gives_back_what_the_manifests_name(packaged, tmp_path, monkeypatch):
    """As docs/deployment.md has it: copied to a registry, then pulled and run by digest."""
    with registry(tmp_path / "registry") as address:
        overrides = (*OVERRIDES, f"deploy.registry={address}/models")
        assert packaged.planned(overrides=overrides) == {"deploy", "report"}
        assert packaged.snakemake(overrides=overrides).returncode == 0
        deployment = yaml.safe_load(
            (packaged.path / IMAGE / "deploy/kubernetes/deployment.yaml").read_text()
        )
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        named = f"{address}/models/tiny@{image_of(packaged)['digest']}"
        assert container["image"] == named
        target = f"docker://{address}/models/tiny:1"
        copy = ["skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
        subprocess.run([*copy, f"oci:{packaged.path / IMAGE}:built", target], check=True)
        tools.call(
            "podman", "pull", "--quiet", "--tls-verify=false", named, what="pulling by digest"
        )
        served = tools.start(named, port := free_port(), tools.Limits(1024, 1), {})
        try:
            engine = read_manifest(packaged.path / image_of(packaged)["engine_path"])
            assert asked(f"http://127.0.0.1:{port}/ready")["digest"] == f"sha256:{engine['digest']}"
        finally:
            subprocess.run(["podman", "rm", "--force", served], check=True, capture_output=True)
            tools.forget(named)
    assert packaged.snakemake(overrides=OVERRIDES).returncode == 0


@pytest.mark.skipif(
    not shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin"), reason="needs haproxy"
)
@pytest.mark.parametrize("keep", [False, True], ids=["stopped", "kept running"])
def test_a_rolling_update_and_its_rollback_lose_no_request(
    packaged, other_version, tmp_path, monkeypatch, keep
):
    # Podman's own limits are above what a nested machine allows.
    (tmp_path / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=2048:2048"]\n'
    )
    monkeypatch.setenv("CONTAINERS_CONF", str(tmp_path / "containers.conf"))
    rolling = Rolling(tmp_path / "state")
    image = packaged.path / IMAGE
    reference = load(str(image))
    rolling.start(image / "deploy" / "compose.yaml", None, reference, free_port())
    try:
        with pytest.raises(DrawplateError, match="up -d failed"):
            rolling.update("localhost/drawplate-test:none")
        assert rolling.read().active == "blue"  # what cannot start changes nothing
        seen = play(rolling, other_version, 3, None, keep=keep)
        assert (seen["failed"], seen["errors"]) == (0, [])
        assert seen["completions"] > 50
        assert seen["versions"][0] != seen["versions"][1]
        assert seen["old_answers_after_s"] < (1 if keep else 15)
        print(json.dumps(seen))
    finally:
        rolling.stop()
        tools.forget(reference)


@pytest.fixture
def other_version(packaged, tmp_path):
    """The same server over another engine of the same build."""
    folder = tmp_path / "other"
    folder.mkdir()
    used = packaged.path / image_of(packaged)["engine_path"]
    engines = (packaged.path / "artifacts/tiny").glob("*/engines/onnxruntime-cpu")
    copy_model(next(e for e in engines if e != used), folder / "model")
    loaded = tools.load(packaged.path / IMAGE, image_of(packaged)["tag"])
    (folder / "Containerfile").write_text(
        f"FROM {loaded}\nENV DRAWPLATE_MODEL=/srv/other\nCOPY model /srv/other\n"
    )
    reference = "localhost/drawplate-test:other"
    tools.call("podman", "build", "-q", "-t", reference, str(folder), what="building")
    yield reference
    tools.forget(reference)
    tools.forget(loaded)


def test_an_encoder_gives_its_engines_own_vectors_from_the_image(packaged, tmp_path):
    checkout = make_encoder(tmp_path / "drawplate")
    (checkout.path / ".venv-guidellm").symlink_to(ROOT / ".venv-guidellm")
    made = checkout.path / "artifacts/tiny/rootfs"
    shutil.copytree(packaged.path / "artifacts/tiny/rootfs", made, copy_function=os.link)
    load = LOAD.replace("[1, 2]", "[1]").replace("trace: requests.csv, ", "")  # it gives no answers
    wanted = "variants=[float/onnxruntime]"
    overrides = ("package.build=true", ENCODER_LIMITS, load, wanted, "sweep.build=false")
    assert not any(job.startswith("rootfs") for job in checkout.planned(overrides=overrides))
    result = checkout.snakemake(overrides=overrides)
    assert result.returncode == 0, result.stdout + result.stderr
    package = json.loads((checkout.path / "results/tiny/report.json").read_text())["package"]
    assert package["task"] == "encoder"
    assert len(package["golden"]) == 4  # three alone, and all in one request
    assert all(row["cosine"] > 0.9999 for row in package["golden"])
    served = package["served"]
    assert (served["failed"], served["time_to_first_token_ms"], served["tokens_per_s"]) == (
        0,
        None,
        None,
    )
    for level in package["levels"]:
        assert level["requests"] > 0
        assert level["input_tokens_per_s"] > level["requests_per_s"] > 0
        assert level["latency_ms"]["p50"] <= level["latency_ms"]["p99"]
    page = (checkout.path / "results/tiny/report.html").read_text()
    assert "cosine with the engine" in page
    deployment = (checkout.path / IMAGE / "deploy/kubernetes/deployment.yaml").read_text()
    assert "a text of 16 tokens each" in deployment


def test_nothing_is_left_in_the_store(packaged, stored_before):
    assert stored() == stored_before
