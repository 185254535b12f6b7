"""What is written: against the published schemas, and what a schema does not know."""

import re
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml
from tests.unit.deploy.conftest import FORMER, ROOT

from drawplate.build.workflow import make_plan
from drawplate.deploy import gpu
from drawplate.deploy.compose import compose
from drawplate.deploy.kubernetes import objects
from drawplate.deploy.write import COMPOSE, KUSTOMIZATION, texts, write
from drawplate.errors import DrawplateError

# The newest, and one from before sleeping hooks and sidecars; both know all that is used.
VERSIONS = ("1.37", "1.30")
EVERYTHING = (
    "deploy.scale_on=[cpu,requests]",
    "deploy.pull_secret=pull",
    "deploy.api_key_secret=keys",
    "deploy.requests_per_s=5",
    "deploy.ingress_from=[]",
)
CASES = {"default": ((), "cpu"), "everything": (EVERYTHING, "cpu"), "gpu": ((), "sm89")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_every_object_fits_the_published_schema(release, case, version):
    overrides, target = CASES[case]
    for name, text in texts(release(*overrides, target=target), FORMER, "results/x").items():
        if name.endswith((KUSTOMIZATION, COMPOSE)):
            continue
        kubernetes_validate.validate(yaml.safe_load(text), version, strict=True)


def test_the_schemas_would_refuse_a_wrong_object(release):
    wrong = objects(release())["deployment.yaml"]
    wrong["spec"]["template"]["spec"]["containers"][0]["resorces"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("case", CASES)
def test_the_compose_file_fits_the_specification(release, tmp_path, case):
    overrides, target = CASES[case]
    path = tmp_path / COMPOSE
    path.write_text(texts(release(*overrides, target=target), None, "results/x")[COMPOSE])
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    good = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert good.returncode == 0, good.stdout + good.stderr
    path.write_text(path.read_text().replace("read_only: true", "read_onyl: true"))
    assert subprocess.run([sys.executable, "-m", *command], capture_output=True).returncode == 1


def container_of(release) -> tuple[dict, dict]:
    pod = objects(release)["deployment.yaml"]["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def test_requests_limits_probes_and_autoscaling_are_the_sizes(release):
    made = release("deploy.scale_on=[cpu,requests]")
    pod, container = container_of(made)
    sizes = {"cpu": "2", "memory": "256Mi"}
    assert container["resources"] == {"requests": sizes, "limits": sizes}
    startup = container["startupProbe"]
    assert (startup["periodSeconds"], startup["failureThreshold"]) == (2, 15)
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert pod["terminationGracePeriodSeconds"] == 141
    spec = objects(made)["autoscaler.yaml"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 66
    assert spec["metrics"][1]["pods"]["target"]["averageValue"] == "700m"


def test_every_computed_value_has_its_reason_beside_it(release):
    found = " ".join(
        text for name, text in texts(release(), None, "results/x").items() if name != COMPOSE
    )
    for reason in release().sizing.why:
        if reason != "scale-requests":  # not asked for
            assert f"drawplate.io/why-{reason}:" in found


def test_the_digest_is_the_image_and_is_told(release):
    made = release()
    _, container = container_of(made)
    assert container["image"] == f"localhost/drawplate/smollm2@{made.digest}"
    deployment = objects(made)["deployment.yaml"]
    for metadata in (deployment["metadata"], deployment["spec"]["template"]["metadata"]):
        assert metadata["annotations"]["drawplate.io/image-digest"] == made.digest
    assert made.digest in deployment["metadata"]["annotations"]["kubernetes.io/change-cause"]
    assert "replicas" not in deployment["spec"]  # the autoscaler's


def test_a_pod_may_do_nothing_that_it_need_not(release):
    pod, container = container_of(release())
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container["securityContext"]
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    policy = objects(release())["network-policy.yaml"]["spec"]
    assert policy["egress"] == []
    assert len(policy["ingress"][0]["from"]) == 2
    closed = objects(release("deploy.ingress_from=[]"))["network-policy.yaml"]["spec"]
    assert closed["ingress"] == []


def test_an_update_fits_the_quota(release):
    """Old pods that still answer count until they end."""
    made = release()
    hard = objects(made)["quota.yaml"]["spec"]["hard"]
    assert int(hard["pods"]) == 2 * made.sizing.max_replicas
    assert int(hard["limits.cpu"]) == int(hard["pods"]) * made.sizing.cpus


def test_a_gpu_target_gets_its_nodes_and_a_gpu(release):
    pod, container = container_of(release(target="sm89"))
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in container["resources"]["requests"]
    devices = compose(release(target="sm89"))["services"]["server"]["deploy"]
    assert devices["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    pod, container = container_of(release())
    assert "nodeSelector" not in pod
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def test_a_target_without_a_product_is_refused():
    with pytest.raises(DrawplateError, match=r"no product for target sm75: add the nodes' label"):
        gpu.node_selector("sm75", {"sm80": "A100"})


def test_settings_are_those_of_the_server(release):
    """Another than it knows would keep it from starting."""
    from drawplate_server.settings import read_settings

    made = release("deploy.api_key_secret=keys")
    settings = read_settings(made.environment())
    assert (settings.threads, settings.slots, settings.max_queue) == (2, 1, 12)
    assert (settings.timeout_s, settings.drain_delay_s) == (120, 10)
    assert settings.api_key_file == "/run/secrets/drawplate/key"
    # Nor may Kubernetes add some of its own: a service's address would begin like a setting.
    assert container_of(made)[0]["enableServiceLinks"] is False


def test_the_image_before_is_one_command_away(release, tmp_path):
    files = texts(release(), FORMER, "results/x")
    former = yaml.safe_load(files[f"former/{KUSTOMIZATION}"])
    assert former["images"] == [{"name": "localhost/drawplate/smollm2", "digest": FORMER["digest"]}]
    patch = yaml.safe_load(former["patches"][0]["patch"])
    assert patch["spec"]["template"]["metadata"]["annotations"]["drawplate.io/variant"] == "old"
    assert f"former/{KUSTOMIZATION}" not in texts(release(), None, "results/x")
    assert former["resources"] == ["../kubernetes"]  # kustomize refuses a folder around itself
    listed = yaml.safe_load(files[f"kubernetes/{KUSTOMIZATION}"])["resources"]
    there = {n.removeprefix("kubernetes/") for n in files if n.startswith("kubernetes/")}
    assert set(listed) == there - {KUSTOMIZATION}
    write(tmp_path, files)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.yaml")} == set(files)


def test_long_and_odd_names_are_names_of_services(release):
    import dataclasses

    made = dataclasses.replace(release(), model="7b_" + "x" * 57)
    for content in objects(made).values():
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", content["metadata"]["name"])


def test_manifests_are_planned_with_the_image_only():
    with_image = make_plan({"overrides": ["package.build=true"]}, ROOT)
    assert [n.stage for n in with_image.nodes][-2:] == ["deploy", "report"]
    assert not make_plan({}, ROOT).of("deploy")
