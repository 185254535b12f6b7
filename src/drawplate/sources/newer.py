"""Whether a pinned source has moved on, and what to pin instead.

Nothing of it is reached by a job: a job fetches what is pinned and looks no further.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawplate.artifacts.manifest import list_files
from drawplate.errors import DrawplateError
from drawplate.sources import fetch, packages
from drawplate.sources.base import check_given
from drawplate.sources.fetch import Source
from drawplate.sources.weights import wanted_files

if TYPE_CHECKING:
    from packaging.version import Version

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_BRANCH, GIT_BRANCH = "main", "HEAD"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Revision:
    """A revision of a source beside the one that is pinned.

    Attributes:
        where: The source's entries that name it, for example `revision`; empty if no entry does
            (a folder, whose digest alone tells).
        words: What it is, for people.
        differs: Whether its files are known to differ from the pinned ones; False says that this
            is not known before they are here.
    """

    where: dict[str, str]
    words: str
    differs: bool


def look(source: Source, follow: str | None) -> Revision | None:
    """What a source's keeper has that is newer than the pin, without downloading any file of it.

    Args:
        source: See the table of this package.
        follow: The branch, tag or alias that is followed; None for the kind's own choice: the
            revision if it is no commit, else `main` (hub); `HEAD` (dvc); the newest version (mlflow).

    Returns:
        None if there is nothing newer.

    Raises:
        DrawplateError: If the keeper cannot be asked, or does not have what is pinned.
    """
    fetch.check(source)
    found = LOOKS[source["kind"]](source, follow)
    if found is None and not source.get("sha256"):
        return Revision(where={}, words="no pinned SHA-256 yet", differs=True)
    return found


def refuse_no_base(source: Source) -> None:
    """Refuse what lies on this machine's disk and is no base, before it is pinned for one.

    Raises:
        DrawplateError: If it is a link to nothing, or cannot be a base.
    """
    if source["kind"] != "folder":
        return
    path, name = Path(source["path"]).expanduser(), fetch.describe(source)
    if path.is_symlink() and not path.exists():
        raise DrawplateError(
            f"{name} is a link to {path.readlink()}, which does not exist", "mend the link"
        )
    if path.is_file():
        files = wanted_files([path.name], name)
        if not files[0].endswith(".gguf"):
            raise DrawplateError(f"{name} is one file of a checkpoint", "give the folder it is in")
    check_given(source)


def pin(source: Source, revision: Revision) -> dict[str, Any] | None:
    """The entries to write into the source; None if the files that are used are the pinned ones.

    Args:
        source: As it is pinned now.
        revision: What `look` found. Its files are downloaded into the cache, where the build finds
            them.

    Raises:
        DrawplateError: If it cannot be downloaded.
    """
    moved = {**source, **revision.where, "sha256": None}
    moved.pop("bytes", None)  # the size of another revision
    size = None
    if source["kind"] == "folder":
        digest = fetch.digest_of_given(moved)
    else:
        digest, size = _download(moved)
    if digest == source.get("sha256"):
        return None
    sizes = {"bytes": size} if size and source.get("bytes") else {}
    return {**revision.where, **sizes, "sha256": digest}


def _folder(source: Source, follow: str | None) -> Revision | None:
    found = fetch.digest_of_given(source)
    if found == source.get("sha256"):
        return None
    return Revision(where={}, words=f"files with digest {found[:16]}", differs=True)


def _hub(source: Source, follow: str | None) -> Revision | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    repo, revision, kind = source["repo"], source["revision"], source.get("repo_type", "model")
    branch = follow or (HUB_BRANCH if COMMIT.fullmatch(revision) else revision)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    name = f"hub:{repo}@{branch}"
    try:
        commit = str(api.repo_info(repo, revision=branch, repo_type=kind, timeout=20).sha)
        if commit == revision:
            return None
        # Commits that touch no file that is used (a README) are told by the files' hashes alone.
        pinned = COMMIT.fullmatch(revision) is not None
        if pinned and _hub_files(api, source, revision) == _hub_files(api, source, commit):
            return None
    except HfHubHTTPError as error:
        raise DrawplateError(
            f"{name} cannot be looked at ({str(error).splitlines()[0]})",
            "check repository, base.follow and, if it is private, HF_TOKEN",
        ) from None
    except (HTTPError, ConnectionError):
        raise _unreachable(name, "the hub does not answer") from None
    return Revision(
        where={"revision": commit}, words=f"commit {commit[:12]} of {branch}", differs=pinned
    )


def _hub_files(api: Any, source: Source, revision: str) -> dict[str, str]:
    """Git's hash of each file that a base uses."""
    from drawplate.sources.archive import fits

    repo, kind = source["repo"], source.get("repo_type", "model")
    listed = api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=kind)
    # Folders have no hash of a file.
    hashes = {entry.path: entry.blob_id for entry in listed if hasattr(entry, "blob_id")}
    if globs := source.get("files"):
        wanted = [path for path in hashes if fits(path, globs)]
    else:
        wanted = wanted_files(sorted(hashes), f"hub:{repo}@{revision}")
    return {path: hashes[path] for path in wanted}


def _package(source: Source, follow: str | None) -> Revision | None:
    package, version = source["package"], source["version"]
    name = f"{source['kind']}:{package}"
    offered, known = VERSIONS[source["kind"]](package)
    if not offered:
        raise _unreachable(name, "no version of it can be seen")
    ordered = {text: v for text in offered if (v := _version(text)) and not v.is_prerelease}
    newest, pinned = max(ordered, key=lambda text: ordered[text], default=None), _version(version)
    if newest is not None and (pinned is None or ordered[newest] > pinned):
        return Revision(where={"version": newest}, words=f"version {newest}", differs=True)
    if version not in known and (pinned is None or pinned not in map(_version, known)):
        newest = newest or offered[0]
        raise DrawplateError(
            f"{name} has no version {version}, the newest there is {newest}", f"pin {newest}"
        )
    return None


def _version(text: str) -> "Version | None":
    """A version that can be ordered; None for what npm allows beyond that, as `1.0.0-next.1`."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text)
    except InvalidVersion:
        return None


def _pypi_versions(package: str) -> tuple[list[str], list[str]]:
    seen = packages._versions(package)
    return seen, seen


def _npm_versions(package: str) -> tuple[list[str], list[str]]:
    """What its keeper calls the latest, which need not be the highest, and every one there is."""
    command = [*packages.npm_command(), "view", package, "version", "versions", "--json"]
    try:
        said = json.loads(packages.run(command, f"npm:{package}", Path()))
    except packages.NoNetworkError:
        return [], []
    every = said["versions"]
    return [said["version"]], [every] if isinstance(every, str) else every


# Versions to choose the newest from, and all that can be seen; none where no registry answers.
VERSIONS: dict[str, Callable[[str], tuple[list[str], list[str]]]] = {
    "pypi": _pypi_versions,
    "npm": _npm_versions,
}


def _dvc(source: Source, follow: str | None) -> Revision | None:
    repo, branch = source["repo"], follow or GIT_BRANCH
    # Git takes a name for the end of a ref's: main is asked for, refs/heads/old/main is told as well.
    refs = [branch, f"refs/heads/{branch}", f"refs/tags/{branch}^{{}}", f"refs/tags/{branch}"]
    asked = ["git", "ls-remote", "--exit-code", "--", repo, *refs]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        cause = (done.stderr.strip().splitlines() or [f"it has no {branch}"])[-1]
        raise _unreachable(f"dvc:{repo}", cause)
    told = {ref: commit for commit, ref in (line.split() for line in done.stdout.splitlines())}
    commit = next((told[ref] for ref in refs if ref in told), None)
    if commit is None:
        raise _unreachable(f"dvc:{repo}", f"it has no {branch}")
    if commit == source["rev"]:
        return None
    now, pinned = _dvc_hashes(source, commit), _dvc_hashes(source, source["rev"])
    if now is not None and now == pinned:
        return None
    return Revision(
        where={"rev": commit},
        words=f"commit {commit[:12]} of {branch}",
        differs=now is not None and pinned is not None,
    )


def _dvc_hashes(source: Source, rev: str) -> list[tuple[str, str]] | None:
    """DVC's hash of each file below the path; None where DVC does not track one of them."""
    command = [sys.executable, "-m", "dvc", "list", source["repo"], source["path"]]
    options = ["--rev", rev, "--recursive", "--json", "--show-hash"]
    try:
        said = packages.run([*command, *options], fetch.describe({**source, "rev": rev}), Path())
    except packages.NoNetworkError:
        raise _unreachable(f"dvc:{source['repo']}", "it cannot be reached") from None
    files = json.loads(said)
    hashes = [(str(f["path"]), f.get("md5") or f.get("hash")) for f in files]
    return None if not hashes or any(h is None for _, h in hashes) else sorted(hashes)


def _mlflow(source: Source, follow: str | None) -> Revision | None:
    from drawplate.track.registry import newest_uri

    newest = newest_uri(source["uri"], follow)
    if newest is None or newest == source["uri"]:
        return None
    return Revision(where={"uri": newest}, words=newest, differs="@" not in source["uri"])


LOOKS: dict[str, Callable[[Source, str | None], Revision | None]] = {
    "folder": _folder,
    "hub": _hub,
    "pypi": _package,
    "npm": _package,
    "dvc": _dvc,
    "mlflow": _mlflow,
}


def _unreachable(name: str, cause: str) -> DrawplateError:
    return DrawplateError(
        f"{name} cannot be asked for a newer revision ({cause})",
        "check the address and the connection; nothing was changed",
    )


def _download(source: Source) -> tuple[str, int]:
    """Digest and bytes of a source without a pin, which stands in the cache afterwards.

    `fetch` refuses a source that is not pinned, as a build must. Its parts are used one by one
    here, and are not public there: every artifact's key holds that module.
    """
    cache, name = fetch.cache_folder(), fetch.describe(source)
    cache.mkdir(parents=True, exist_ok=True)
    with fetch._scratch_in(cache) as scratch:
        try:
            fetch.DOWNLOADERS[source["kind"]](source, scratch)
        except packages.NoNetworkError as error:
            raise _unreachable(name, str(error)) from None
        digest = fetch._digest(scratch, source["kind"])
        size = sum(row["bytes"] for row in list_files(scratch))
        scratch.chmod(0o755)  # a cache may be shared
        if not (cache / digest).is_dir():
            scratch.rename(cache / digest)
    return digest, size
