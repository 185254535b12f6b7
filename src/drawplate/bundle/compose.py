"""The compose file of a bundle: its processes as services, read-only, limited and watched."""

from collections.abc import Mapping
from typing import Any

from drawplate.bundle.launch import MODEL, filled, front_process

INSIDE = "/model"
PROBES = {
    "python3": [
        "python3",
        "-c",
        "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('{url}', timeout=5)",
    ],
    "curl": ["curl", "--noproxy", "*", "--fail", "--silent", "--max-time", "5", "{url}"],
}
SMALL = {"cpus": 1, "mem_limit": "1024m", "pids_limit": 256}
"""Limits of a process that holds no model."""


def compose(config: dict[str, Any], values: Mapping[str, str], title: str) -> dict[str, Any]:
    """What `docker compose up` or `podman-compose up` reads.

    Args:
        config: A bundle's job: `server` (a file of `conf/server/`), `limits`, `port`, `start_s`.
        values: `name`, `context` and so on, see `config.bundles.Process`.
        title: Name of the project.
    """
    server = config["server"]
    services = {name: _service(config, name, values, title) for name in server["processes"]}
    return {"name": title, "services": services}


def _service(
    config: dict[str, Any], name: str, values: Mapping[str, str], title: str
) -> dict[str, Any]:
    server = config["server"]
    process = server["processes"][name]
    addresses = {
        other: f"http://{other}:{entry['port']}" for other, entry in server["processes"].items()
    }
    inside = {"host": "0.0.0.0", "port": str(process["port"]), **addresses}
    arguments = filled(process["arguments"], {**values, MODEL: INSIDE, **inside})
    service: dict[str, Any] = {"image": server["image"]}
    if server["requirements"]:
        service = {
            "build": {"context": ".", "dockerfile": "Containerfile"},
            "image": f"localhost/{title}",
        }
    if server["started_by"] == "entrypoint":
        service |= {"entrypoint": process["program"], "command": arguments}
    elif server["started_by"] == "command":
        service["command"] = [*process["program"], *arguments]
    else:
        service["command"] = arguments
    service |= {
        "restart": "unless-stopped",
        "environment": dict(server["variables"]),
        "read_only": True,
        "tmpfs": ["/tmp:exec"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }
    if process["model"]:
        service |= _model_service(config)
    else:
        service |= SMALL
    if name == front_process(server):
        service["ports"] = [f"127.0.0.1:${{PORT:-{config['port']}}}:{process['port']}"]
        if len(server["processes"]) > 1:
            service["depends_on"] = [other for other in server["processes"] if other != name]
    if process["health"]:
        url = f"http://127.0.0.1:{process['port']}{process['health']}"
        service["healthcheck"] = {
            "test": ["CMD", *(word.replace("{url}", url) for word in PROBES[process["probe"]])],
            "interval": "10s",
            "timeout": "6s",
            "retries": 3,
            "start_period": f"{config['start_s']}s",
        }
    return service


def _model_service(config: dict[str, Any]) -> dict[str, Any]:
    limits = config["limits"]
    service: dict[str, Any] = {
        "volumes": [f"./{MODEL}:{INSIDE}:ro"],
        "cpus": limits["cpus"],
        "mem_limit": f"{limits['memory_megabytes']}m",
        "memswap_limit": f"{limits['memory_megabytes']}m",
        "pids_limit": limits["processes"],
        "shm_size": f"{limits['shared_memory_megabytes']}m",
    }
    if config["server"]["gpu"]:
        device = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return service
