"""A bundle, written: model, launch script, compose file and what a reader has to know."""

import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.artifacts.manifest import intact_manifest
from drawplate.build.environment import lock_of
from drawplate.bundle import templates
from drawplate.bundle.compose import compose
from drawplate.bundle.launch import MODEL, SCRIPT, filled, front_process, script
from drawplate.bundle.model import put_model

COMPOSE, README, CONTAINERFILE, REQUIREMENTS = (
    "compose.yaml",
    "README.md",
    "Containerfile",
    "requirements.lock",
)


def write_bundle(
    root: Path,
    source: Path,
    variant: dict[str, Any],
    config: dict[str, Any],
    name: str,
    output: Path,
) -> None:
    """Fill a folder with a bundle.

    Args:
        root: The repository.
        source: The model's folder: an engine's, or a checkpoint.
        variant: Of the report's facts.
        config: The bundle's job, see `build.bundling`.
        name: What requests call the model.
        output: Empty folder to fill.
    """
    import yaml

    server, manifest = config["server"], intact_manifest(source)
    put_model(source, output / MODEL, server["older_config"])
    values = values_of(source, config, name)
    launch = output / SCRIPT
    launch.write_text(script(server, values, config["port"]))
    launch.chmod(0o755)
    title = f"{name}-{server['name'].replace('_', '-')}"
    written = yaml.safe_dump(compose(config, values, title), sort_keys=False, width=1000)
    (output / COMPOSE).write_text(written)
    if server["requirements"]:
        shutil.copyfile(root / lock_of(server["requirements"]), output / REQUIREMENTS)
        (output / CONTAINERFILE).write_text(
            f"FROM {server['image']}\n"
            f"COPY {REQUIREMENTS} /{REQUIREMENTS}\n"
            f"RUN python3 -m pip install --no-cache-dir --requirement /{REQUIREMENTS}\n"
        )
    label = manifest["format"]
    form = f"`{manifest['name']}`, {label['weights_dtype']}"
    if method := label.get("quantization_method"):
        form += f", {method}"
    lines = [_line(server, process, values, config["port"]) for process in server["processes"]]
    (output / README).write_text(
        _readme(
            server=server,
            variant=variant,
            digest=manifest["digest"],
            name=name,
            form=form,
            commands=lines,
            port=config["port"],
        )
    )


def values_of(source: Path, config: dict[str, Any], name: str) -> dict[str, str]:
    """What placeholders of a server's arguments stand for, see `config.bundles.Process`."""
    asked = config["max_prompt_tokens"] + config["max_new_tokens"]
    longest = read_json(source / "config.json").get("max_position_embeddings")
    context = asked if longest is None else min(asked, longest)
    prompt = max(1, context - min(config["max_new_tokens"], context // 2))
    values = {"name": name, "context": str(context), "prompt_tokens": str(prompt)}
    settings = source / "engine.json"
    if settings.exists() and (dtype := read_json(settings).get("dtype")):
        values["dtype"] = dtype
    return values


def _line(server: dict[str, Any], name: str, values: dict[str, str], port: int) -> str:
    """A command as a reader would type it."""
    process = server["processes"][name]
    ports = {other: entry["port"] for other, entry in server["processes"].items()}
    ports[front_process(server)] = port
    addresses = {other: f"http://127.0.0.1:{number}" for other, number in ports.items()}
    here = {MODEL: MODEL, "host": "127.0.0.1", "port": str(ports[name]), **addresses}
    return " ".join([*process["program"], *filled(process["arguments"], {**values, **here})])


def _readme(**facts: Any) -> str:
    import jinja2

    text = resources.files(templates).joinpath("readme.md.j2").read_text()
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(text).render(**facts)
