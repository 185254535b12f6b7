"""Signatures with a key of one's own, in the form of OpenSSF Model Signing (`model_signing`).

The library signs and verifies; `serving/drawplate_server/integrity` reads the same file in the container.
"""

import base64
import json
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError

MAKE = "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"


def sign(folder: Path, signature: Path, key: Path, ignored: tuple[Path, ...] = ()) -> None:
    """Sign every file of a folder.

    Args:
        folder: What is signed.
        signature: The file to write.
        key: PEM file of a private key on an elliptic curve.
        ignored: Files that are not signed, relative to the folder.

    Raises:
        DrawplateError: If the key cannot be read or used.
    """
    from model_signing import hashing, signing

    how = hashing.Config().set_ignored_paths(paths=ignored, ignore_git_paths=False)
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key)
        signer.set_hashing_config(how).sign(folder, signature)
        _sign_without_chance(signature, key)
    except (OSError, ValueError, TypeError) as error:
        raise DrawplateError(f"{key} cannot sign ({error})", MAKE) from None


def _sign_without_chance(signature: Path, key: Path) -> None:
    """Write the library's statement in one order, and sign it with a nonce that follows from it (RFC 6979).

    It writes entries in any order and signs with random nonces, so that the same model would have
    another signature, and the same image another digest, each time.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    bundle = json.loads(signature.read_text())
    envelope = bundle["dsseEnvelope"]
    kind = envelope["payloadType"].encode()
    statement = json.loads(base64.b64decode(envelope["payload"]))
    payload = json.dumps(statement, sort_keys=True).encode()
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    own = private_key(key)
    digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[own.key_size]
    signed = own.sign(message, ec.ECDSA(digest, deterministic_signing=True))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(signed).decode()
    signature.write_text(json.dumps(bundle))


def verify(folder: Path, signature: Path, public_key: Path, ignored: tuple[Path, ...] = ()) -> None:
    """Compare a folder with its signature.

    Raises:
        DrawplateError: Naming the file that differs, or the key that is another one.
    """
    from cryptography.exceptions import InvalidSignature
    from model_signing import hashing, verifying

    how = hashing.Config().set_ignored_paths(paths=ignored, ignore_git_paths=False)
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        verifier.set_hashing_config(how).verify(folder, signature)
    except InvalidSignature:
        raise DrawplateError(f"{signature} was not made with the key of {public_key}") from None
    except (OSError, ValueError, TypeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DrawplateError(f"{folder} is not what was signed ({said})") from None


def check_public_key(path: Path) -> None:
    """Refuse a file that is no key to verify with, before anything is blamed for it.

    Raises:
        DrawplateError: If the file holds none on an elliptic curve.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    remedy = "name a PEM file: openssl ec -in key.pem -pubout -out key.pub"
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no public key in PEM"
        raise DrawplateError(f"--public-key {path} cannot be used ({said})", remedy) from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise DrawplateError(f"--public-key {path} is on no elliptic curve", remedy)


def private_key(path: Path) -> Any:
    """A key to sign with.

    Raises:
        DrawplateError: If the file holds none on an elliptic curve, or one behind a password.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DrawplateError(f"package.signing_key {path} cannot be read ({said})", MAKE) from None
    known = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)  # those of the library
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, known):
        raise DrawplateError(
            f"package.signing_key {path} is on none of the curves P-256, P-384 and P-521", MAKE
        )
    return key


def write_public_key(path: Path, output: Path) -> None:
    """Write the public half of a key, which who verifies needs.

    Raises:
        DrawplateError: See `private_key`.
    """
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    output.write_bytes(
        private_key(path).public_key().public_bytes(serialization.Encoding.PEM, form)
    )
