"""The manifests on a real Kubernetes node: deployed, updated, rolled back.

On demand, as root, with a node that build.sh and up.sh made and an image that a build made:
    export DRAWPLATE_CLUSTER=/scratch/cluster
    tests/cluster/build.sh && tests/cluster/up.sh
    DRAWPLATE_CLUSTER_IMAGE=artifacts/smollm2/image python -m pytest tests/cluster
    tests/cluster/down.sh

The node is Kubernetes 1.20, the newest that can be compiled from Debian's packages: it knows autoscaling/v2 and policy/v1
by their names of then, with the same fields, and it enforces no network policy. Its one node is small, so pods ask for
less of the processor than the manifests say; nothing measures processors there, so the autoscaler keeps the least number.
"""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from drawplate.artifacts.manifest import read_manifest
from drawplate.build.job import read_measurement
from drawplate.deploy import gpu
from drawplate.deploy.release import Release
from drawplate.deploy.sizing import Measured, size
from drawplate.deploy.write import FORMER, KUBERNETES, KUSTOMIZATION, texts, write
from drawplate.package import tools
from drawplate.package.image import TAG, described

CLUSTER, IMAGE = os.environ.get("DRAWPLATE_CLUSTER"), os.environ.get("DRAWPLATE_CLUSTER_IMAGE")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not CLUSTER or not IMAGE, reason="DRAWPLATE_CLUSTER or DRAWPLATE_CLUSTER_IMAGE unset"
    ),
]
WAIT_S = 180
OLDER = {"autoscaling/v2": "autoscaling/v2beta2", "policy/v1": "policy/v1beta1"}
REPLICAS = 2  # the least of the default settings


def kubectl(*words: str, check: bool = True) -> str:
    command = [f"{CLUSTER}/bin/kubectl", "--kubeconfig", f"{CLUSTER}/kubeconfig", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S + 30)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def image() -> Path:
    return Path(str(IMAGE)).absolute()


@pytest.fixture(scope="module")
def versions(image, tmp_path_factory) -> tuple[Release, Release]:
    """The release that was built, and a next one: the same files with another label, so another digest."""
    folder = tmp_path_factory.mktemp("next")
    loaded = tools.load(image, TAG)
    (folder / "Containerfile").write_text(f"FROM {loaded}\nLABEL io.drawplate.test=next\n")
    reference = f"localhost/drawplate-cluster-test:{TAG}"
    tools.call("podman", "build", "-q", "--format=oci", "-t", reference, str(folder), what="build")
    tools.export(reference, folder / "layout", TAG)
    tools.forget(reference)
    tools.forget(loaded)
    first = release(image, image)
    for layout in (image, folder / "layout"):
        to_node(layout, first.repository)
    return first, release(image, folder / "layout")


def release(image: Path, layout: Path) -> Release:
    """As scripts/deploy.py makes it, with the digest of a layout."""
    manifest, config = read_manifest(image), read_manifest(image / "deploy")["key"]["config"]
    served = read_measurement(image.parents[2] / "results" / image.parent.name / "serve", "serve")
    measured = Measured.read(served, config["limits"], config["memory_megabytes"])
    return Release(
        model=image.parent.name,
        variant=manifest["image"]["variant"],
        digest=described(layout)["digest"],
        engine_digest=f"sha256:{manifest['parent']['digest']}",
        target=config["targets"][manifest["image"]["variant"]],
        sizing=size(measured, config["settings"]),
        settings=config["settings"],
    )


def to_node(layout: Path, repository: str) -> None:
    """Into the node's store, under the digest that the manifests name."""
    archive = Path(str(CLUSTER)) / "import.tar"
    parts = ["oci-layout", "index.json", "blobs"]
    subprocess.run(["tar", "-C", str(layout), "-cf", str(archive), *parts], check=True)
    command = ["ctr", "-a", f"{CLUSTER}/c.sock", "-n", "k8s.io", "images", "import"]
    command += ["--base-name", repository, "--digests", str(archive)]
    subprocess.run(command, check=True, capture_output=True)
    archive.unlink()


def files_for_node(release: Release, former: Release | None, folder: Path) -> Path:
    """The written manifests under the names that this node's version knows, its processors shared."""
    told = former and {
        "digest": former.digest,
        "engine_digest": former.engine_digest,
        "variant": former.variant,
    }
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, texts(release, told, "the test"))
    place = folder / KUBERNETES
    kustomization = yaml.safe_load((place / KUSTOMIZATION).read_text())
    known = set(kubectl("api-versions").split())
    for name in kustomization["resources"]:
        content = yaml.safe_load((place / name).read_text())
        if content["apiVersion"] not in known:
            content["apiVersion"] = OLDER[content["apiVersion"]]
            (place / name).write_text(yaml.safe_dump(content))
    path = "/spec/template/spec/containers/0/resources/requests/cpu"
    small = [{"op": "replace", "path": path, "value": "100m"}]
    kustomization["patches"] = [{"target": {"kind": "Deployment"}, "patch": json.dumps(small)}]
    (place / KUSTOMIZATION).write_text(yaml.safe_dump(kustomization))
    return folder


def rolled_out(release: Release) -> None:
    where = ("-n", release.namespace, f"deployment/{release.name}")
    kubectl("rollout", "status", *where, f"--timeout={WAIT_S}s")


def digests(release: Release) -> set[str]:
    """Digests that ready pods say they run."""
    pods = json.loads(kubectl("-n", release.namespace, "get", "pods", "-o", "json"))["items"]
    ready = [
        pod
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
    ]
    for pod in ready:
        image_id = pod["spec"]["containers"][0]["image"]
        assert image_id.endswith(pod["metadata"]["annotations"]["drawplate.io/image-digest"])
    return {pod["metadata"]["annotations"]["drawplate.io/image-digest"] for pod in ready}


class Availability:
    """The least number of replicas that were available while the block ran."""

    def __init__(self, release: Release) -> None:
        self._release, self._over, self.least = release, threading.Event(), 10**6

    def __enter__(self) -> "Availability":
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        path = "jsonpath={.status.availableReplicas}"
        where = ("-n", self._release.namespace, "get", "deployment", self._release.name)
        while not self._over.is_set():
            self.least = min(self.least, int(kubectl(*where, "-o", path) or 0))
            time.sleep(0.2)


@pytest.fixture(scope="module")
def deployed(versions, tmp_path_factory):
    """The first version with two replicas; taken away at the end."""
    first, _ = versions
    folder = files_for_node(first, None, tmp_path_factory.mktemp("deployed") / "files")
    kubectl("apply", "-k", str(folder / KUBERNETES))
    rolled_out(first)
    path = "jsonpath={.status.availableReplicas}"
    where = ("-n", first.namespace, "get", "deployment", first.name)
    deadline = time.monotonic() + WAIT_S  # the manifests name no number: the autoscaler does
    while kubectl(*where, "-o", path) != str(first.sizing.min_replicas):
        assert time.monotonic() < deadline
        time.sleep(1)
    yield first
    kubectl("delete", "namespace", first.namespace, "--wait=true")


def test_it_is_deployed_and_answers(deployed):
    assert digests(deployed) == {deployed.digest}
    path = "jsonpath={.items[0].status.podIP}"
    address = kubectl("-n", deployed.namespace, "get", "pods", "-o", path)
    body = json.dumps({"model": "model", "prompt": "The sea is", "max_tokens": 4}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{address}:8080/v1/completions", body, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["usage"]["completion_tokens"] == 4


def test_the_pod_is_hardened_as_the_manifest_says(deployed):
    pods = json.loads(kubectl("-n", deployed.namespace, "get", "pods", "-o", "json"))["items"]
    name = pods[0]["metadata"]["name"]
    look = "import os; print(os.getuid(), os.getgid(), [l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff', 'Seccomp:', 'NoNewPrivs'))])"
    said = kubectl("-n", deployed.namespace, "exec", name, "--", "python3", "-c", look)
    assert said.split(" ", 2)[:2] == ["10001", "10001"]
    assert said.split(" ", 2)[2].strip() == "['0000000000000000', '1', '2']"
    script = "open('/srv/drawplate/x', 'w')"
    command = ["-n", deployed.namespace, "exec", name, "--", "python3", "-c", script]
    assert kubectl(*command, check=False) == ""
    assert "token" not in kubectl(
        "-n",
        deployed.namespace,
        "get",
        "pod",
        name,
        "-o",
        "jsonpath={.spec.containers[0].volumeMounts}",
    )


def test_it_is_updated_and_rolled_back_without_a_replica_missing(deployed, versions, tmp_path):
    first, following = versions
    assert first.digest != following.digest
    folder = files_for_node(following, first, tmp_path / "files")
    with Availability(first) as seen:
        kubectl("apply", "-k", str(folder / KUBERNETES))
        rolled_out(first)
        assert digests(first) == {following.digest}
        started = time.monotonic()
        kubectl("-n", first.namespace, "rollout", "undo", f"deployment/{first.name}")
        rolled_out(first)
        print(f"rolled back by kubectl in {time.monotonic() - started:.1f} s")
        assert digests(first) == {first.digest}
        kubectl("apply", "-k", str(folder / KUBERNETES))
        rolled_out(first)
        started = time.monotonic()
        kubectl("apply", "-k", str(folder / FORMER))
        rolled_out(first)
        print(f"rolled back by kustomize in {time.monotonic() - started:.1f} s")
        assert digests(first) == {first.digest}
    assert seen.least >= REPLICAS
    history = kubectl("-n", first.namespace, "rollout", "history", f"deployment/{first.name}")
    assert first.digest in history
    assert following.digest in history


def test_the_disruption_budget_and_the_autoscaler_know_their_pods(deployed):
    where = ("-n", deployed.namespace, "get")
    path = "jsonpath={.status.currentHealthy} {.status.disruptionsAllowed}"
    assert kubectl(*where, "poddisruptionbudget", deployed.name, "-o", path) == f"{REPLICAS} 1"
    path = "jsonpath={.spec.minReplicas} {.status.currentReplicas}"
    told = kubectl(*where, "horizontalpodautoscalers", deployed.name, "-o", path)
    assert told == f"{REPLICAS} {REPLICAS}"
    path = "jsonpath={.status.used.pods}"  # those of the test before that still end count too
    assert int(kubectl(*where, "resourcequota", deployed.name, "-o", path)) >= REPLICAS


def test_a_gpu_target_goes_to_the_node_that_has_one_and_waits_otherwise(versions, tmp_path):
    """The GPU is a number in the node's status, and no hardware."""
    import dataclasses

    first, _ = versions
    made = dataclasses.replace(first, model="gpu", target="sm89")
    folder = files_for_node(made, None, tmp_path / "files")
    # The image has another name than the model's here.
    kustomization = yaml.safe_load((folder / KUBERNETES / KUSTOMIZATION).read_text())
    kustomization["images"] = [{"name": made.repository, "newName": first.repository}]
    kustomization["images"][0]["digest"] = first.digest
    (folder / KUBERNETES / KUSTOMIZATION).write_text(yaml.safe_dump(kustomization))
    product = gpu.node_selector("sm89", made.settings["gpu_products"])[gpu.PRODUCT]
    node = ("node", "localhost")
    try:
        kubectl("apply", "-k", str(folder / KUBERNETES))
        time.sleep(5)
        path = "jsonpath={.items[*].status.phase}"
        assert set(kubectl("-n", made.namespace, "get", "pods", "-o", path).split()) == {"Pending"}
        kubectl("label", *node, f"{gpu.PRODUCT}={product}")
        capacity = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "2"}]
        kubectl("patch", *node, "--subresource=status", "--type=json", "-p", json.dumps(capacity))
        rolled_out(made)
        assert digests(made) == {first.digest}
    finally:
        kubectl("delete", "namespace", made.namespace, "--wait=true")
        kubectl("label", *node, f"{gpu.PRODUCT}-")


def test_a_version_that_cannot_start_replaces_nothing(deployed, versions, tmp_path):
    import dataclasses

    broken = dataclasses.replace(deployed, digest=f"sha256:{'0' * 64}")
    folder = files_for_node(broken, deployed, tmp_path / "files")
    with Availability(deployed) as seen:
        kubectl("apply", "-k", str(folder / KUBERNETES))
        time.sleep(15)
        kubectl("-n", deployed.namespace, "rollout", "undo", f"deployment/{deployed.name}")
        rolled_out(deployed)
    assert seen.least >= REPLICAS
    assert digests(deployed) == {deployed.digest}
