"""`drawplate whence`: the lineage of an artifact, back to the base."""

import argparse
import os

from drawplate.artifacts.lineage import chain, find
from drawplate.cli.experiment import root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("artifact", help="a path under artifacts/, or a digest from anywhere")


def run(arguments: argparse.Namespace) -> int:
    """Print the chain, newest first, each with its digest and the command that makes it again."""
    place = root().resolve()
    rows = chain(find(arguments.artifact, place), place)
    for folder, manifest in rows:
        print(f"{manifest['name']}  sha256:{manifest['digest']}")
        if folder is None:
            print(
                "  not on this disk, rebuilt since, or its manifest is damaged: try drawplate pull"
            )
            continue
        print(f"  at       {os.path.relpath(folder)}")
        label = manifest["format"] or {}
        is_a = [manifest["kind"]]
        is_a += [str(label["weights_dtype"])] if "weights_dtype" in label else []
        if "bits_per_weight" in label:
            is_a.append(f"{label['bits_per_weight']:.2f} bits per weight")
        print(f"  is       {', '.join(is_a)}")
        print(
            f"  made     {manifest['created_at']} in {manifest['seconds']:.0f} s with "
            + ", ".join(f"{k} {v}" for k, v in manifest["tools"].items())
        )
        print(f"  by       {manifest['command']}")
        if base := manifest.get("base"):
            print(f"  from     {base['source']}, sha256:{base['sha256']}, {base['license']}")
    if again := rows[0][1].get("build_command"):
        print(f"build again: {again}")
    return 0
