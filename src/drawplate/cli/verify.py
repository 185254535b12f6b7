"""`drawplate verify PATH`: is every byte what the manifest says, and is the label true?"""

import argparse
from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import check_files, read_manifest
from drawplate.errors import DrawplateError

LABEL = ("weights_dtype", "bits_per_weight", "group_size", "tensors", "activations", "sparsity")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("path", type=Path, help="the folder of a checkpoint, engine or image")
    parser.add_argument(
        "--public-key",
        type=Path,
        help="PEM file that an image's signature must fit (default: its own)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check digests, then the label of a checkpoint; 1 with a line for each difference."""
    folder: Path = arguments.path
    if arguments.public_key is not None:
        from drawplate.package.signature import check_public_key

        check_public_key(arguments.public_key)
    manifest = read_manifest(folder)
    label = manifest["format"] or {}
    problems = check_files(folder)
    if not problems and manifest["kind"] == "checkpoint":
        from drawplate.artifacts.audit import audit

        try:
            found = audit(folder)
        except DrawplateError as error:
            problems = [str(error)]
        else:
            problems = [
                f"label {name}: manifest says {label.get(name)}, tensors say {found.get(name)}"
                for name in LABEL
                if label.get(name) != found.get(name)
            ]
    is_image = "image" in manifest  # a deployment is a part of one, and has no layers
    if not problems and is_image:
        problems = _of_image(folder, manifest["image"], arguments.public_key)
    for problem in problems:
        print(f"{folder}: {problem}")
    if not problems:
        print(f"{folder}: intact, {len(manifest['files'])} files, sha256:{manifest['digest']}")
        if is_image:
            image = manifest["image"]
            signed = "signed" if image["signed"] else "not signed"
            print(f"{folder}: image {image['digest']} of {image['variant']}, {signed}")
        elif "deployment" in manifest:
            print(f"{folder}: deployment of {manifest['deployment']['reference']}")
        else:
            print(f"{folder}: {_holds(manifest['kind'], label)}")
    return 1 if problems else 0


def _of_image(folder: Path, image: dict[str, Any], public_key: Path | None) -> list[str]:
    """What is wrong with an image whose files are those of its manifest."""
    from drawplate.package.image import PUBLIC_KEY, SIGNATURE, described, unsigned
    from drawplate.package.signature import verify

    if (found := described(folder)["digest"]) != image["digest"]:
        return [f"index.json: the image is {found}, the manifest says {image['digest']}"]
    if not image["signed"]:
        return [] if public_key is None else ["the image is not signed"]
    key = public_key or folder / PUBLIC_KEY
    try:
        verify(folder, folder / SIGNATURE, key, unsigned(folder))
    except DrawplateError as error:
        return [str(error)]
    return []


def _holds(kind: str, label: dict[str, Any]) -> str:
    """What is known of an intact artifact's label."""
    said = ", ".join(f"{name} {_words(name, label[name])}" for name in LABEL if name in label)
    if kind == "checkpoint":
        return f"label is true, the tensors say the same: {said}"
    return f"label not compared, which only a checkpoint's is; the manifest says: {said or 'none'}"


def _words(name: str, value: Any) -> str:
    """An entry of a label as one reads it."""
    if isinstance(value, dict) and name == "tensors":
        return " and ".join(f"{size} bytes of {dtype}" for dtype, size in value.items())
    if isinstance(value, dict):
        return " and ".join(f"{key} {_words(key, item)}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
