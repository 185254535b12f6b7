"""The files of a deployment."""

from pathlib import Path
from typing import Any

import yaml

from drawplate.deploy.compose import IMAGE, compose
from drawplate.deploy.kubernetes import kustomization, kustomization_of_former, objects
from drawplate.deploy.release import Release

KUBERNETES, FORMER = "kubernetes", "former"
COMPOSE, KUSTOMIZATION = "compose.yaml", "kustomization.yaml"


def texts(release: Release, former: dict[str, str] | None, measured: str) -> dict[str, str]:
    """Every file: its name within the folder, and its text.

    Args:
        release: What is deployed.
        former: The image before it, see `history.former`; None if none is known.
        measured: Where the sweep's record stands, for the head of each file.
    """
    head = [
        f"# Made by drawplate from the sweep in {measured}; the next build writes it anew.",
        f"# One replica sustained {release.sizing.why['sustained-load']}.",
    ]
    files: dict[str, Any] = dict(objects(release))
    files[KUSTOMIZATION] = kustomization(release)
    written = {f"{KUBERNETES}/{name}": _text(head, content) for name, content in files.items()}
    # Kustomize does not look for annotations in a compose file, and compose has none: all reasons stand on top.
    reasons = [f"# {name}: {why}" for name, why in release.sizing.why.items()]
    another = f"# Another version: {IMAGE}=NAME@DIGEST podman-compose up -d; without a pause: scripts/rolling_update.py"
    written[COMPOSE] = _text([*head, *reasons, another], compose(release))
    if former is not None:
        place = f"{FORMER}/{KUSTOMIZATION}"
        content = kustomization_of_former(release, former)
        for patch in content["patches"]:
            patch["patch"] = yaml.safe_dump(patch["patch"], sort_keys=False)
        back = "# Back to the image before: kubectl apply -k on this folder."
        written[place] = _text([*head, back], content)
    return written


def write(folder: Path, files: dict[str, str]) -> None:
    """Write the files of a deployment into a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _text(head: list[str], content: dict[str, Any]) -> str:
    dumped = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return "\n".join([*head, dumped])
