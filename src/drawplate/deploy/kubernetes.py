"""Kubernetes objects of a release, as plain data; each value that was computed is annotated with its reason.

Autoscaling is `autoscaling/v2` and the disruption budget `policy/v1`, which Kubernetes has since 1.23 and 1.21.
"""

from collections.abc import Mapping
from typing import Any

from drawplate.deploy import gpu
from drawplate.deploy.release import KEY_ENTRY, KEY_FOLDER, PORT, USER, Release, change_cause

Object = dict[str, Any]
ANNOTATION = "drawplate.io"
CHANGE_CAUSE = "kubernetes.io/change-cause"
INSIDE_METRIC = "drawplate_requests_inside"
SCALE_DOWN_AFTER_S = 300
RETRY_FAILURES = 2
SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(PORT),
    "prometheus.io/path": "/metrics",
}


def objects(release: Release) -> dict[str, Object]:
    """Every object, by the name of its file, in the order in which they are applied."""
    return {
        "namespace.yaml": _namespace(release),
        "quota.yaml": _quota(release),
        "limits.yaml": _limits(release),
        "network-policy.yaml": _network_policy(release),
        "deployment.yaml": _deployment(release),
        "service.yaml": _service(release),
        "disruption-budget.yaml": _disruption_budget(release),
        "autoscaler.yaml": _autoscaler(release),
    }


def kustomization(release: Release) -> Object:
    """What `kubectl apply -k` reads."""
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(objects(release)),
        "images": [{"name": release.repository, "digest": release.digest}],
    }


def kustomization_of_former(release: Release, former: Mapping[str, str]) -> Object:
    """The same deployment with the image before this one, in a folder beside that of the present one.

    Args:
        release: The present one.
        former: `digest`, `engine_digest` and `variant` of the one before.
    """
    told = _told(former["variant"], former["digest"], former["engine_digest"])
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": release.name,
            "namespace": release.namespace,
            "annotations": {
                CHANGE_CAUSE: change_cause(former["variant"], former["digest"]),
                **told,
            },
        },
        "spec": {"template": {"metadata": {"annotations": told}}},
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../kubernetes"],
        "images": [{"name": release.repository, "digest": former["digest"]}],
        "patches": [{"patch": patch}],
    }


def _told(variant: str, digest: str, engine_digest: str) -> dict[str, str]:
    """Which bytes a pod runs."""
    return {
        f"{ANNOTATION}/image-digest": digest,
        f"{ANNOTATION}/engine-digest": engine_digest,
        f"{ANNOTATION}/variant": variant,
    }


def _labels(release: Release) -> dict[str, str]:
    return {"app.kubernetes.io/name": "drawplate", "app.kubernetes.io/instance": release.name}


def _head(release: Release, version: str, kind: str, *reasons: str) -> Object:
    """The head of an object, with the reasons of its values."""
    why = {f"{ANNOTATION}/why-{name}": release.sizing.why[name] for name in reasons}
    metadata: Object = {"name": release.name, "namespace": release.namespace}
    metadata["labels"] = {**_labels(release), "app.kubernetes.io/managed-by": "drawplate"}
    if why:
        metadata["annotations"] = why
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _namespace(release: Release) -> Object:
    head = _head(release, "v1", "Namespace")
    head["metadata"].pop("namespace")
    head["metadata"]["name"] = release.namespace
    head["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted"
    return head


def _quota(release: Release) -> Object:
    """Room for every replica twice: in a rolling update the old ones still answer while new ones start."""
    pods = 2 * release.sizing.max_replicas
    cpus, memory = pods * release.sizing.cpus, pods * release.sizing.memory_mebibytes
    hard = {
        "pods": str(pods),
        "requests.cpu": str(cpus),
        "limits.cpu": str(cpus),
        "requests.memory": f"{memory}Mi",
        "limits.memory": f"{memory}Mi",
    }
    if gpu.needs_gpu(release.target):
        hard[f"requests.{gpu.RESOURCE}"] = str(pods)
    head = _head(release, "v1", "ResourceQuota", "cpu", "memory", "replicas")
    return {**head, "spec": {"hard": hard}}


def _limits(release: Release) -> Object:
    """Nothing in the namespace is larger than one replica."""
    sizes = {
        "cpu": str(release.sizing.cpus),
        "memory": f"{release.sizing.memory_mebibytes}Mi",
    }
    limit = {"type": "Container", "default": sizes, "defaultRequest": sizes, "max": sizes}
    head = _head(release, "v1", "LimitRange", "cpu", "memory")
    return {**head, "spec": {"limits": [limit]}}


def _network_policy(release: Release) -> Object:
    """In from those who are named; out to nowhere, for the server asks nobody."""
    peers = [
        {
            "namespaceSelector": {"matchLabels": dict(peer["namespace"])},
            "podSelector": {"matchLabels": dict(peer["pods"])},
        }
        for peer in release.settings["ingress_from"]
    ]
    ingress = [{"from": peers, "ports": [{"port": PORT, "protocol": "TCP"}]}] if peers else []
    spec = {
        "podSelector": {"matchLabels": _labels(release)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": [],
    }
    return {**_head(release, "networking.k8s.io/v1", "NetworkPolicy"), "spec": spec}


def _deployment(release: Release) -> Object:
    """The pods. Without a number of replicas, which belongs to the autoscaler."""
    reasons = ("sustained-load", "cpu", "memory", "slots", "max-queue", "startup", "grace")
    head = _head(release, "apps/v1", "Deployment", *reasons)
    told = _told(release.variant, release.digest, release.engine_digest)
    head["metadata"]["annotations"] |= {CHANGE_CAUSE: release.change_cause, **told}
    template = {
        "metadata": {"labels": _labels(release), "annotations": {**told, **SCRAPED}},
        "spec": _pod(release),
    }
    spec = {
        "revisionHistoryLimit": release.settings["revisions"],
        "selector": {"matchLabels": _labels(release)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "template": template,
    }
    return {**head, "spec": spec}


def _pod(release: Release) -> Object:
    pod: Object = {
        "automountServiceAccountToken": False,
        # Kubernetes would set DRAWPLATE_..._SERVICE_HOST, which is no setting of the server.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": release.sizing.grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _labels(release)},
            }
        ],
    }
    if selector := gpu.node_selector(release.target, release.settings["gpu_products"]):
        pod["nodeSelector"] = selector
        pod["tolerations"] = gpu.tolerations(release.target)
    if secret := release.settings["pull_secret"]:
        pod["imagePullSecrets"] = [{"name": secret}]
    pod["containers"] = [_container(release)]
    if secret := release.settings["api_key_secret"]:
        items = [{"key": KEY_ENTRY, "path": KEY_ENTRY}]
        # 0444: the server is not root, and nobody else is in the container.
        pod["volumes"] = [
            {
                "name": "api-key",
                "secret": {"secretName": secret, "items": items, "defaultMode": 0o444},
            }
        ]
    return pod


def _container(release: Release) -> Object:
    sizing, settings = release.sizing, release.settings
    sizes = {"cpu": str(sizing.cpus), "memory": f"{sizing.memory_mebibytes}Mi"}
    period, timeout = settings["probe_period_s"], settings["probe_timeout_s"]
    container: Object = {
        "name": "server",
        "image": release.reference,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "env": [{"name": name, "value": value} for name, value in release.environment().items()],
        # No less than it may take: what was measured was measured with all of it.
        "resources": {"requests": sizes, "limits": {**sizes, **gpu.limits(release.target)}},
        "startupProbe": _probe("/ready", sizing.startup_period_s, timeout, sizing.startup_failures),
        "readinessProbe": _probe("/ready", period, timeout, RETRY_FAILURES),
        "livenessProbe": _probe("/health", 2 * period, timeout, 1 + RETRY_FAILURES),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if settings["api_key_secret"]:
        container["volumeMounts"] = [{"name": "api-key", "mountPath": KEY_FOLDER, "readOnly": True}]
    return container


def _probe(path: str, period_s: int, timeout_s: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_s,
        "timeoutSeconds": timeout_s,
        "failureThreshold": failures,
    }


def _service(release: Release) -> Object:
    spec = {
        "type": "ClusterIP",
        "selector": _labels(release),
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }
    return {**_head(release, "v1", "Service"), "spec": spec}


def _disruption_budget(release: Release) -> Object:
    """One at a time, so that a node can always be emptied."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": _labels(release)}}
    return {**_head(release, "policy/v1", "PodDisruptionBudget"), "spec": spec}


def _autoscaler(release: Release) -> Object:
    sizing, scale_on = release.sizing, release.settings["scale_on"]
    metrics: list[Object] = []
    if "cpu" in scale_on:
        target = {"type": "Utilization", "averageUtilization": sizing.cpu_percent}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if "requests" in scale_on:
        target = {"type": "AverageValue", "averageValue": _milli(sizing.requests_inside)}
        metrics.append(
            {"type": "Pods", "pods": {"metric": {"name": INSIDE_METRIC}, "target": target}}
        )
    reasons = [f"scale-{name}" for name in scale_on]
    head = _head(
        release,
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "sustained-load",
        *reasons,
        "scale-up-period",
        "replicas",
    )
    up = {"type": "Percent", "value": 100, "periodSeconds": sizing.scale_up_period_s}
    down = {"type": "Pods", "value": 1, "periodSeconds": sizing.scale_up_period_s}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": release.name},
        "minReplicas": sizing.min_replicas,
        "maxReplicas": sizing.max_replicas,
        "metrics": metrics,
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [up]},
            "scaleDown": {"stabilizationWindowSeconds": SCALE_DOWN_AFTER_S, "policies": [down]},
        },
    }
    return {**head, "spec": spec}


def _milli(value: float) -> str:
    """A quantity as the API server writes it."""
    return f"{round(value * 1000)}m"
