"""Docker, where it is what there is: it builds and runs, and what it built is made to be the same twice.

Docker writes the time of day into an image's configuration and into folders that it makes. So its image
is taken out as an OCI layout (by skopeo) and written once more with one time for everything.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from drawplate.artifacts.files import read_json, write_json
from drawplate.errors import DrawplateError

CHUNK_BYTES = 2**20
INSTALL_SKOPEO = "install skopeo (Debian: apt-get install skopeo)"


def answers() -> bool:
    """Whether Docker is on the path and its daemon answers."""
    if shutil.which("docker") is None:
        return False
    asked = ("docker", "info", "--format", "{{.ServerVersion}}")
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


def check_skopeo() -> None:
    """Refuse to work without the program that turns Docker's images into OCI's and back.

    Raises:
        DrawplateError: If it is not there.
    """
    if shutil.which("skopeo") is None:
        raise DrawplateError("docker needs skopeo beside it, to write OCI images", INSTALL_SKOPEO)


def daemon(side: str) -> list[str]:
    """Options that tell skopeo of another daemon than the usual one; `side` is `src` or `dest`."""
    host = os.environ.get("DOCKER_HOST")
    return [f"--{side}-daemon-host={host}"] if host else []


def control_groups(identity: str) -> list[str]:
    """Where a container's control group may be, below the mount of its kind."""
    return [f"docker/{identity}", f"system.slice/docker-{identity}.scope"]


def settle(layout: Path, epoch: int) -> None:
    """Rewrite an OCI layout of one image, in place, so that its digest depends on contents alone.

    Every time in its configuration and in its layers becomes `epoch`; layers are compressed anew.

    Args:
        layout: Folder with `index.json` and `blobs/sha256`.
        epoch: Seconds since 1970.
    """
    index = read_json(layout / "index.json")
    (entry,) = index["manifests"]
    manifest = _blob(layout, entry["digest"])
    config = _blob(layout, manifest["config"]["digest"])
    old = [
        entry["digest"],
        manifest["config"]["digest"],
        *(x["digest"] for x in manifest["layers"]),
    ]
    layers, identities = [], []
    for layer in manifest["layers"]:
        written, identity = _settled_layer(layout, layer["digest"], epoch)
        layers.append({**written, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"})
        identities.append(identity)
    moment = _moment(epoch)
    config["created"] = moment
    config["rootfs"]["diff_ids"] = identities
    config["history"] = [{**step, "created": moment} for step in config.get("history", [])]
    manifest["config"] |= _store(layout, config)
    manifest["layers"] = layers
    index["manifests"] = [{**entry, **_store(layout, manifest)}]
    write_json(layout / "index.json", index)
    kept = {index["manifests"][0]["digest"], manifest["config"]["digest"]}
    kept |= {layer["digest"] for layer in layers}
    for digest in set(old) - kept:
        _path(layout, digest).unlink()


def _moment(epoch: int) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _path(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _blob(layout: Path, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_path(layout, digest).read_text())
    return found


def _store(layout: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Write a JSON blob; its digest and size."""
    raw = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    _path(layout, digest).write_bytes(raw)
    return {"digest": digest, "size": len(raw)}


def _settled_layer(layout: Path, digest: str, epoch: int) -> tuple[dict[str, Any], str]:
    """Write a layer again with one time for all its files.

    Returns:
        Digest and size of the compressed layer, and the digest of the archive in it.
    """
    handle, name = tempfile.mkstemp(dir=layout)
    with (
        os.fdopen(handle, "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="", compresslevel=6) as packed,
    ):
        counted: Any = _Digest(packed)
        with (
            tarfile.open(_path(layout, digest), "r:*") as before,
            tarfile.open(fileobj=counted, mode="w|", format=tarfile.PAX_FORMAT) as after,
        ):
            for member in before:
                member.mtime = epoch
                kept = {k: v for k, v in member.pax_headers.items() if not k.endswith("time")}
                member.pax_headers = kept
                after.addfile(member, before.extractfile(member) if member.isreg() else None)
    path = Path(name)
    total = hashlib.sha256()
    with path.open("rb") as written:
        for chunk in _chunks(written):
            total.update(chunk)
    digest = f"sha256:{total.hexdigest()}"
    size = path.stat().st_size
    path.chmod(0o644)
    path.replace(_path(layout, digest))
    return {"digest": digest, "size": size}, f"sha256:{counted.total.hexdigest()}"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


class _Digest:
    """A file to write to that keeps a digest of what passes."""

    def __init__(self, file: Any) -> None:
        self._file, self.total = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.total.update(data)
        self._file.write(data)
        return len(data)
