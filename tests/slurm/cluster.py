"""A real Slurm on this machine: one controller, two virtual nodes, a file that passes for a GPU.

Needs Debian's packages slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge, and root.
Slurm's jobs look for their configuration in /etc/slurm and nowhere else, so it stands there while
the cluster runs; a machine that has one of its own is left alone.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ETC = Path("/etc/slurm")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "sinfo", "munged", "runuser")
NODES = ("n1", "g1")
READY_S = 60.0

CONFIGURATION = """ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=2,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
AccountingStorageType=accounting_storage/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=16 RealMemory=16000
NodeName=g1 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=16 RealMemory=16000 Gres=gpu:fake:1
PartitionName=all Nodes=n1,g1 Default=YES MaxTime=INFINITE
"""
GRES = "NodeName=g1 Name=gpu Type=fake File=/dev/null\n"


def obstacle() -> str | None:
    """Why no cluster can be started here, None if one can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"needs Slurm, missing: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root"
    if (ETC / "slurm.conf").exists():
        return "this machine has a Slurm of its own"
    return None


@contextlib.contextmanager
def cluster() -> Iterator[Path]:
    """A cluster that takes jobs; its folder, with logs, is gone afterwards, and so is all else."""
    # Not in a test's own folder: the user munge has to reach it.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    written = [ETC / "slurm.conf", ETC / "gres.conf"]
    munged = None
    try:
        for name in ("state", "spool", "log"):
            (folder / name).mkdir()
        controller, first, second = _free_ports(3)
        written[0].write_text(
            CONFIGURATION.format(
                host=socket.gethostname().split(".")[0],
                folder=folder,
                port=controller,
                first=first,
                second=second,
            )
        )
        written[1].write_text(GRES)
        munged = _start_munge(folder / "munge")
        _run("slurmctld", "-c")
        for node in NODES:
            _run("slurmd", "-N", node)
        _wait_until_idle(folder)
        yield folder
    finally:
        for pid in _pids(folder):
            _end(pid)
        if munged is not None:
            munged.terminate()
            munged.wait()
        for path in written:
            path.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _start_munge(folder: Path) -> subprocess.Popen[bytes]:
    """The service that Slurm's parts prove themselves by, with a key and socket of its own."""
    folder.mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    for path in (folder, folder / "key"):
        shutil.chown(path, "munge", "munge")
    places = {
        "socket": "socket",
        "key-file": "key",
        "pid-file": "pid",
        "log-file": "log",
        "seed-file": "seed",
    }
    options = [f"--{option}={folder / name}" for option, name in places.items()]
    command = ["runuser", "-u", "munge", "--", "munged", "--foreground", *options]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + READY_S
    while not (folder / "socket").exists():
        assert process.poll() is None and time.monotonic() < deadline, "munged did not start"
        time.sleep(0.1)
    return process


def _wait_until_idle(folder: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        said = _run("sinfo", "--noheader", "--Node", "--format=%N %t", check=False)
        if {line.strip() for line in said.splitlines()} == {f"{node} idle" for node in NODES}:
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text() for path in (folder / "log").glob("*"))
    raise AssertionError(f"the nodes did not come up: {said}\n{logs}")


def _pids(folder: Path) -> list[int]:
    """Of the daemons and of what they left behind, the daemons first."""
    files = [*folder.glob("slurmctld.pid"), *folder.glob("slurmd.*.pid")]
    return [int(path.read_text()) for path in files if path.read_text().strip()]


def _end(pid: int) -> None:
    """Ask a daemon to end and wait for it; it is not a child of ours."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def _run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
