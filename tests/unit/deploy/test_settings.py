"""Settings of a deployment that cannot be meant are refused before anything is built."""

import pytest
from tests.unit.deploy.conftest import ROOT

from drawplate.build.workflow import make_plan
from drawplate.errors import DrawplateError

MISTAKES = {
    "deploy.replicas={min: 3, max: 2}": "max is 2, less than min; write 3 or more",
    "deploy.namespace=Mine": "write at most 63 lower-case letters",
    "deploy.namespace=kube-system": "it belongs to the cluster itself; write a name without kube-",
    "deploy.registry=https://host/x": "write HOST/PATH in lower case",
    "deploy.registry=localhost:99999": "write a port from 1 to 65535",
    "deploy.gpu_products.sm80='NVIDIA A100'": "write at most 63 letters, digits, ., _ and -",
    "deploy.ingress_from=[{namespace: {a: b c}, pods: {}}]": "write at most 63 letters",
    "deploy.target_utilization=1.5": "deploy.target_utilization = 1.5 is wrong",
    "deploy.scale_on=[]": "deploy.scale_on",
    "deploy.scale_on=[memory]": "deploy.scale_on",
    "deploy.scale_on=[cpu,cpu]": "write each once",
    "deploy.drain_delay_s=100000": "it must be less than or equal to 3600",
    "+deploy.replica=2": "deploy.replica",
    "deploy.headroom.start=0.5": "deploy.headroom.start = 0.5 is wrong",
    "deploy.max_wait_s=120": "package.limits.timeout_s, 120; write less",
    "deploy.compose_port=70000": "deploy.compose_port = 70000 is wrong",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_told_in_one_line(build, override):
    with pytest.raises(DrawplateError) as caught:
        build(override)
    assert MISTAKES[override] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_gpu_target_of_a_served_engine_needs_its_product(monkeypatch):
    from drawplate.build import packaging

    asked = []
    monkeypatch.setattr(packaging.gpu, "node_selector", lambda *words: asked.append(words))
    make_plan({"overrides": ["package.build=true"]}, ROOT)
    assert {target for target, _ in asked} == {"cpu"}  # no engine with a server has others yet
