"""`drawplate verify PATH`: is every byte what the manifest says, and is the label true?"""

import argparse
from pathlib import Path

from drawplate.artifacts.manifest import check_files, read_manifest
from drawplate.errors import DrawplateError

LABEL = ("weights_dtype", "bits_per_weight", "group_size", "tensors", "activations", "sparsity")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("path", type=Path, help="the folder of a checkpoint or engine")


def run(arguments: argparse.Namespace) -> int:
    """Check digests, then the label of a checkpoint; 1 with a line for each difference."""
    folder: Path = arguments.path
    manifest = read_manifest(folder)
    problems = check_files(folder)
    if not problems and manifest["kind"] == "checkpoint":
        from drawplate.artifacts.audit import audit

        try:
            found = audit(folder)
        except DrawplateError as error:
            problems = [str(error)]
        else:
            label = manifest["format"]
            problems = [
                f"label {name}: manifest says {label.get(name)}, tensors say {found.get(name)}"
                for name in LABEL
                if label.get(name) != found.get(name)
            ]
    for problem in problems:
        print(f"{folder}: {problem}")
    if not problems:
        print(f"{folder}: intact, {len(manifest['files'])} files, sha256:{manifest['digest']}")
    return 1 if problems else 0
