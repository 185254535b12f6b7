"""The image of an engine: built, written as an OCI layout, listed and signed."""

import contextlib
import hashlib
import tempfile
import uuid
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.package import tools
from drawplate.package.context import make_context
from drawplate.package.ending import ended_in_order
from drawplate.package.sbom import parts_of, write_sbom
from drawplate.package.signature import sign, write_public_key
from drawplate.progress import say

SBOM, SIGNATURE, PUBLIC_KEY = "sbom.json", "image.sig", "image.pub"
UNSIGNED = ("manifest.json", SIGNATURE, PUBLIC_KEY, "deploy")
TAG = "built"


def make_image(
    root: Path,
    engine: Path,
    server: str,
    name: str,
    base: dict[str, Any],
    config: dict[str, Any],
    facts: dict[str, Any],
    output: Path,
) -> dict[str, Any]:
    """Fill a folder with an image.

    Args:
        root: The repository.
        engine: The engine's folder.
        server: The server that its engine names.
        name: Of the image, without a tag.
        base: `archive` (of a base made here, with its `packages`) or `image` (the name of one).
        config: The `package` section.
        facts: `chain` (manifests from the engine back to the base) and `sources` (of the data).
        output: Empty folder to fill: `oci-layout`, `index.json`, `blobs/`, `sbom.json`, and with a key `image.sig`
            and `image.pub`.

    Returns:
        `digest` (of the image's own manifest, `sha256:...`), `tag`, `bytes`, `layers` [{`bytes`, `digest`}], `signed`,
        `parts` (of the bill of materials, by type).

    Raises:
        DrawplateError: If packages, base, program or key are not to be had.
    """
    key = Path(config["signing_key"]) if config["signing_key"] else None
    with ended_in_order(), contextlib.ExitStack() as after:
        scratch = tempfile.TemporaryDirectory(prefix="drawplate-image-", dir=output.parent)
        context = Path(after.enter_context(scratch))
        say(f"packages of the server {server}")
        make_context(root, engine, server, context)
        if key:
            sign(context / "model" / "model", context / "model" / "model.sig", key)
        base_image = base.get("image") or f"localhost/drawplate-base:{base['archive_sha256'][:12]}"
        if "archive" in base:
            after.callback(tools.forget, base_image)
            tools.import_base(Path(base["archive"]), base_image)
        say("building the image")
        labels = {
            "org.opencontainers.image.title": name,
            "io.drawplate.engine": facts["chain"][0]["name"],
            "io.drawplate.digest": f"sha256:{facts['chain'][0]['digest']}",
        }
        for limit, value in config["limits"].items():
            labels[f"io.drawplate.limit.{limit}"] = str(value)
        _set_limits(context / "Containerfile", config["limits"])
        # A name of its own: another build of this model may be at work beside this one.
        reference = f"localhost/{name}:{uuid.uuid4().hex}"
        after.callback(tools.forget, reference)
        tools.build_image(context, base_image, labels, reference)
        tools.export(reference, output, TAG)
        made = described(output)
        write_sbom(
            output / SBOM,
            name,
            made["digest"],
            base.get("packages", []),
            context / "packages",
            facts["chain"],
            facts["sources"],
        )
    if key:
        write_public_key(key, output / PUBLIC_KEY)
        sign(output, output / SIGNATURE, key, unsigned(output))
    return {**made, "tag": TAG, "signed": key is not None, "parts": parts_of(output / SBOM)}


def unsigned(folder: Path) -> tuple[Path, ...]:
    """Files of an image's folder that its signature does not cover: what is written after it."""
    return tuple(Path(name) for name in (*UNSIGNED, *(p.name for p in folder.glob("*.key"))))


def described(layout: Path) -> dict[str, Any]:
    """Digest, size and layers of the image in an OCI layout."""
    digest = read_json(layout / "index.json")["manifests"][0]["digest"]
    manifest = read_json(blob(layout, digest))
    layers = [{"bytes": row["size"], "digest": row["digest"]} for row in manifest["layers"]]
    total = sum(row["bytes"] for row in layers)
    return {"digest": digest, "bytes": total, "layers": layers}


def blob(layout: Path, digest: str) -> Path:
    """The file of a digest in an OCI layout."""
    return layout / "blobs" / Path(*digest.split(":"))


def base_of(config: dict[str, Any], rootfs: Path | None) -> dict[str, Any]:
    """The base that an image is built on, see `make_image`."""
    if rootfs is None:
        return {"image": config["base_image"]}
    archive = rootfs / "base.tar"
    result = read_json(rootfs / "rootfs.json")["result"]
    digest = hashlib.file_digest(archive.open("rb"), "sha256").hexdigest()
    return {"archive": str(archive), "archive_sha256": digest, "packages": result["packages"]}


def _set_limits(containerfile: Path, limits: dict[str, Any]) -> None:
    """The deployment's defaults become a part of the image's environment."""
    text = containerfile.read_text()
    lines = [f"    DRAWPLATE_{name.upper()}={value}" for name, value in limits.items()]
    place = "    DRAWPLATE_MODEL=/srv/drawplate/model"
    assert place in text
    containerfile.write_text(text.replace(place, " \\\n".join([place, *lines])))
