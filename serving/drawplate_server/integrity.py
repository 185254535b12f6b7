"""Whether an engine folder is the one that was built and signed: asked before it is served.

A signature is what `model_signing` (OpenSSF Model Signing, sigstore bundle) makes with a key of one's own: a DSSE envelope
around an in-toto statement that lists every file's SHA-256. It is read here with `cryptography` alone, to keep the image small.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from drawplate_server.errors import StartError

MANIFEST, SIGNATURE = "manifest.json", "model.sig"
CHUNK_BYTES = 1 << 20


def check_model(folder: Path, public_key: Path | None) -> str:
    """Compare every byte with the manifest, and the manifest with the signature.

    Args:
        folder: The engine; its signature, if there is one, stands beside it as `<name>.sig`.
        public_key: PEM file; None asks for no signature.

    Returns:
        The digest of the engine that was built: of the one the manifest was made from, if it says so.

    Raises:
        StartError: Naming the file that is not what it should be.
    """
    manifest = _manifest(folder)
    inside = [path for path in folder.rglob("*") if not path.is_dir()]
    # What is no file, a pipe for example, has no digest, but would be read all the same.
    found = {str(p.relative_to(folder)): _sha256(p) if p.is_file() else "" for p in inside}
    listed = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    _compare(folder, found, {**listed, MANIFEST: found[MANIFEST]})
    if public_key is not None:
        _compare(folder, found, signed_files(folder.with_name(SIGNATURE), public_key))
    return str(manifest.get("built", manifest)["digest"])


def signed_files(signature: Path, public_key: Path) -> dict[str, str]:
    """SHA-256 by path, of what a key's owner signed.

    Raises:
        StartError: If there is no signature, or another key's.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not signature.exists():
        raise StartError(f"{signature} is missing: this model is not signed")
    try:
        envelope = json.loads(signature.read_text())["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"])
        signed = base64.b64decode(envelope["signatures"][0]["sig"])
        kind = envelope["payloadType"].encode()
    except (ValueError, KeyError, IndexError, TypeError):
        raise StartError(f"{signature} is no signature") from None
    try:
        key = serialization.load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError) as error:
        raise StartError(f"{public_key} is no public key in PEM ({error})") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise StartError(f"{public_key} is no key on an elliptic curve")
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    try:
        key.verify(signed, message, ec.ECDSA(digest[key.key_size]))
    except (InvalidSignature, KeyError):
        raise StartError(f"{signature} was not made with the key of {public_key}") from None
    resources = json.loads(payload)["predicate"]["resources"]
    return {entry["name"]: entry["digest"] for entry in resources}


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        _ = found["digest"], [(entry["path"], entry["sha256"]) for entry in found["files"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise StartError(f"{folder / MANIFEST} is missing or no manifest") from None
    except OSError as error:
        raise _unreadable(folder / MANIFEST, error) from None
    return found


def _compare(folder: Path, found: dict[str, str], expected: dict[str, str]) -> None:
    """Hold the SHA-256 of every file, by path, against what is expected."""
    for name in sorted(expected.keys() - found.keys()):
        raise StartError(f"{folder / name} is missing")
    for name in sorted(found.keys() - expected.keys()):
        raise StartError(f"{folder / name} does not belong to this model")
    for name in sorted(expected):
        if found[name] != expected[name]:
            raise StartError(f"{folder / name} is not what was built: its SHA-256 differs")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise _unreadable(path, error) from None
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> StartError:
    """A folder that is mounted has its own owner, and the server is user 10001."""
    return StartError(f"{path} cannot be read ({error.strerror})")
