"""The compose file of a release: one container, hardened and sized as in Kubernetes."""

from typing import Any

from drawplate.deploy import gpu
from drawplate.deploy.release import KEY_ENTRY, KEY_FOLDER, PORT, USER, Release

IMAGE, PUBLISHED = "DRAWPLATE_IMAGE", "DRAWPLATE_PUBLISH"
"""Variables that another version, or a second one beside it, is started with."""
KEY_FILE, DEFAULT_KEY_FILE = "DRAWPLATE_KEY_FILE", "/etc/drawplate/api.key"


def compose(release: Release) -> dict[str, Any]:
    """What `podman-compose up` or `docker compose up` reads."""
    sizing, settings = release.sizing, release.settings
    period = settings["probe_period_s"]
    service: dict[str, Any] = {
        "image": f"${{{IMAGE}:-{release.reference}}}",
        "pull_policy": "missing",
        "restart": "unless-stopped",
        "ports": [f"127.0.0.1:${{{PUBLISHED}:-{settings['compose_port']}}}:{PORT}"],
        "environment": release.environment(),
        "user": f"{USER}:{USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": 256,
        "cpus": sizing.cpus,
        "mem_limit": f"{sizing.memory_mebibytes}m",
        "memswap_limit": f"{sizing.memory_mebibytes}m",
        "stop_signal": "SIGTERM",
        "stop_grace_period": f"{sizing.grace_s}s",
        "healthcheck": {
            "test": ["CMD", "python3", "-m", "drawplate_server.probe"],
            "interval": f"{period}s",
            "timeout": f"{settings['probe_timeout_s'] + 1}s",
            "retries": 3,
            "start_period": f"{sizing.startup_period_s * sizing.startup_failures}s",
        },
        "labels": {
            "io.drawplate.image-digest": release.digest,
            "io.drawplate.engine-digest": release.engine_digest,
            "io.drawplate.variant": release.variant,
        },
    }
    if gpu.needs_gpu(release.target):
        device = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    written: dict[str, Any] = {"services": {"server": service}}
    if settings["api_key_secret"]:
        target = f"{KEY_FOLDER}/{KEY_ENTRY}"
        service["secrets"] = [{"source": "api-key", "target": target}]
        written["secrets"] = {"api-key": {"file": f"${{{KEY_FILE}:-{DEFAULT_KEY_FILE}}}"}}
    return {"name": release.name, **written}
