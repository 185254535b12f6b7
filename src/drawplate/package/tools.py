"""Programs that make and run images: podman, buildah or Docker, whichever is there."""

import dataclasses
import resource
import shutil
import subprocess
import uuid
from pathlib import Path

from drawplate.errors import DrawplateError
from drawplate.package import docker

BUILDERS = ("podman", "docker", "buildah")
INSTALL = "install podman (Debian: apt-get install podman)"
EPOCH = 1577836800
"""Time of every file and layer, 2020-01-01: an image's digest depends on its contents alone."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a container may use.

    Attributes:
        memory_megabytes: Of main memory; there is no swap.
        cpus: Processors.
    """

    memory_megabytes: int
    cpus: int


def builder() -> str:
    """The program that builds images here.

    Raises:
        DrawplateError: If there is none.
    """
    return _first(BUILDERS, "neither podman nor buildah is on the path, and no Docker answers")


def runner() -> str:
    """The program that runs images here.

    Raises:
        DrawplateError: If there is none.
    """
    what = "podman is not on the path, no Docker answers, and the image is to be run"
    return _first(tuple(name for name in BUILDERS if name != "buildah"), what)


def _first(names: tuple[str, ...], missing: str) -> str:
    for name in names:
        if name == "docker" and docker.answers():
            docker.check_skopeo()
            return name
        if name != "docker" and shutil.which(name):
            return name
    raise DrawplateError(missing, INSTALL)


def call(*words: str, what: str) -> str:
    """Standard output of a program that succeeds.

    Raises:
        DrawplateError: With its last line of complaint if it fails.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DrawplateError(f"{words[0]} is not on the path", INSTALL) from None
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines()
        said = [line for line in lines if line.strip() and "--help" not in line]
        raise DrawplateError(f"{what} failed ({words[0]}: {said[-1] if said else 'no message'})")
    return done.stdout.strip()


def build_image(context: Path, base_image: str, labels: dict[str, str], reference: str) -> None:
    """Build `context/Containerfile` under a name, every instruction a layer.

    Nothing in it is run, so that no runtime is needed; nothing is fetched but the base.

    Raises:
        DrawplateError: If it cannot be built.
    """
    words = [builder(), "build", "--quiet", "--no-cache", "--build-arg", f"BASE_IMAGE={base_image}"]
    if builder() != "docker":
        words += ["--layers", "--format", "oci", "--timestamp", str(EPOCH)]
    for name, value in sorted(labels.items()):
        words += ["--label", f"{name}={value}"]
    words += ["--tag", reference, "--file", str(context / "Containerfile"), str(context)]
    call(*words, what="building the image")


def import_base(archive: Path, reference: str) -> None:
    """Make an image of one layer from the archive of a file system.

    Raises:
        DrawplateError: If it cannot be built.
    """
    if builder() == "docker":
        change = 'CMD ["python3"]'
        call("docker", "import", "--change", change, str(archive), reference, what="the base image")
        return
    containerfile = archive.with_name("Containerfile.base")
    containerfile.write_text(f'FROM scratch\nADD {archive.name} /\nCMD ["python3"]\n')
    words = [builder(), "build", "--quiet", "--timestamp", str(EPOCH), "--format", "oci"]
    words += ["--tag", reference, "--file", str(containerfile), str(archive.parent)]
    call(*words, what="building the base image")
    containerfile.unlink()


def export(reference: str, folder: Path, tag: str) -> None:
    """Write an image as an OCI layout (`oci-layout`, `index.json`, `blobs/`), under a tag."""
    if builder() == "docker":
        copied = (*docker.daemon("src"), f"docker-daemon:{reference}", f"oci:{folder}:{tag}")
        call("skopeo", "copy", "--quiet", *copied, what="writing the image")
        docker.settle(folder, EPOCH)
        return
    call(builder(), "push", "--quiet", reference, f"oci:{folder}:{tag}", what="writing the image")


def forget(reference: str) -> None:
    """Take an image's name out of the program's store, and the image if nothing else needs it.

    Never by force: that would end and remove the containers that somebody runs from it.
    """
    subprocess.run((builder(), "rmi", reference), capture_output=True, check=False)


def identities() -> set[str]:
    """Ids of the images in the store of what runs them."""
    listed = call(runner(), "images", "--quiet", "--no-trunc", what="listing images")
    return {line.removeprefix("sha256:") for line in listed.splitlines()}


def load(folder: Path, tag: str) -> str:
    """Take an image from an OCI layout into the store of what runs it; its name there."""
    if runner() == "docker":
        name = f"localhost/drawplate-loaded:{tag}"
        source = f"oci:{folder.absolute()}:{tag}"
        copied = (*docker.daemon("dest"), source, f"docker-daemon:{name}")
        call("skopeo", "copy", "--quiet", *copied, what="loading it")
        return name
    return call("podman", "pull", "--quiet", f"oci:{folder.absolute()}:{tag}", what="loading it")


def start(image: str, port: int, limits: Limits, environment: dict[str, str]) -> str:
    """Start a container as a deployment should: not root, read-only, no capabilities, limited.

    Args:
        image: Name or id.
        port: Of this machine's loopback, to the container's 8080.
        limits: What it may use.
        environment: Settings of the server.

    Returns:
        The container's id.

    Raises:
        DrawplateError: If it cannot be started.
    """
    words = [runner(), "run", "--detach", "--read-only", "--cap-drop=ALL"]
    words += ["--security-opt=no-new-privileges", "--user=10001:10001", "--pids-limit=256"]
    words += [f"--memory={limits.memory_megabytes}m", f"--memory-swap={limits.memory_megabytes}m"]
    words += [f"--cpus={limits.cpus}", f"--publish=127.0.0.1:{port}:8080"]
    # Podman's defaults are above what an unprivileged or nested machine allows.
    words += [f"--ulimit=nofile={_at_most(resource.RLIMIT_NOFILE, 65536)}"]
    words += [f"--ulimit=nproc={_at_most(resource.RLIMIT_NPROC, 4096)}"]
    for name, value in environment.items():
        words += ["--env", f"{name}={value}"]
    container = f"drawplate-{uuid.uuid4().hex}"
    try:
        return call(*words, "--name", container, image, what="starting the container")
    except BaseException:  # one that was made and did not start, its port being taken, would stay
        subprocess.run((runner(), "rm", "--force", container), capture_output=True, check=False)
        raise


def running(container: str) -> bool:
    """Whether a container still runs."""
    asked = (runner(), "inspect", "--format", "{{.State.Running}}", container)
    return call(*asked, what="looking at the container") == "true"


def logs(container: str) -> str:
    """What a container said."""
    done = subprocess.run(
        (runner(), "logs", container), capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip()


def peak_bytes(container: str, mount: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Most memory that a container held, as its control group counts it, version 1 or 2."""
    for below in _control_groups(container):
        for path in (
            mount / below / "memory.peak",
            mount / "memory" / below / "memory.max_usage_in_bytes",
        ):
            if path.exists():
                return int(path.read_text())
    return None


def cpu_seconds(container: str, mount: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Processor seconds that a container has used; None where its control group does not tell."""
    for below in _control_groups(container):
        for folder in ("cpuacct", "cpu,cpuacct"):
            usage = mount / folder / below / "cpuacct.usage"
            if usage.exists():
                return int(usage.read_text()) / 1e9
        stat = mount / below / "cpu.stat"
        if stat.exists():
            told = dict(line.split() for line in stat.read_text().splitlines())
            if "usage_usec" in told:
                return int(told["usage_usec"]) / 1e6
    return None


def _control_groups(container: str) -> list[str]:
    """Where a container's control group may be."""
    if runner() == "docker":
        return docker.control_groups(container)
    asked = ("podman", "inspect", "--format", "{{.State.CgroupPath}}", container)
    return [call(*asked, what="looking at it").lstrip("/")]


def remove(container: str, grace_s: int = 30) -> None:
    """Stop a container, killing it if it does not end by itself, and remove it."""
    if runner() == "docker":
        call("docker", "stop", "--time", str(grace_s), container, what="stopping it")
        call("docker", "rm", "--force", container, what="removing it")
        return
    call("podman", "rm", "--force", "--time", str(grace_s), container, what="removing it")


def _at_most(kind: int, wanted: int) -> str:
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return f"{value}:{value}"
