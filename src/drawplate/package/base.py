"""The base image where no registry can be reached: a small Debian with Python, from its packages."""

import os
import shutil
import subprocess
from pathlib import Path

from drawplate.errors import DrawplateError
from drawplate.package.tools import EPOCH

PACKAGES = "python3,ca-certificates,libstdc++6,libgomp1"
"""Python, what speaks TLS, and what wheels with C++ in them are linked to."""
OPTIONS = (
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    # The mirror's address is nobody's business who has the image.
    '--customize-hook=rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
    # Times and names of the machine that made it.
    '--customize-hook=rm -rf "$1"/var/log/* "$1"/var/cache/* "$1"/etc/hostname "$1"/etc/resolv.conf',
)


def find_debootstrap() -> str:
    """The program that makes file systems from Debian's packages.

    Raises:
        DrawplateError: If it is missing.
    """
    if shutil.which("mmdebstrap") is None:
        raise DrawplateError(
            "mmdebstrap is not on the path, and package.base_image names no image",
            "install it (Debian: apt-get install mmdebstrap), or set package.base_image",
        )
    return "mmdebstrap"


def make_base(archive: Path, suite: str) -> list[dict[str, str]]:
    """Write the archive of a file system with Python; the same packages give the same bytes.

    Args:
        archive: A `.tar` to write.
        suite: Debian release.

    Returns:
        The packages in it: `name`, `version` and `architecture` of each.

    Raises:
        DrawplateError: If mmdebstrap is missing or fails.
    """
    command = [find_debootstrap(), "--quiet", "--variant=essential", "--mode=auto"]
    command += [f"--include={PACKAGES}", *OPTIONS, suite, str(archive)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise DrawplateError(
            f"mmdebstrap failed ({said[-1] if said else done.stderr[-200:]})",
            "see that Debian's mirror can be reached, or set package.base_image",
        )
    return _installed(archive)


def _installed(archive: Path) -> list[dict[str, str]]:
    import tarfile

    with tarfile.open(archive) as tar:
        status = tar.extractfile("./var/lib/dpkg/status")
        assert status is not None
        records = status.read().decode().split("\n\n")
    fields = ("Package", "Version", "Architecture")
    found = []
    for record in records:
        lines = dict(line.split(": ", 1) for line in record.splitlines() if ": " in line[:20])
        if "Package" in lines:
            found.append(
                {field.lower().replace("package", "name"): lines[field] for field in fields}
            )
    return found
