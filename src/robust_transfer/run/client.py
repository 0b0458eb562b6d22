"""The client of the warm process (see `warm`): what Snakemake starts for each node.

A run starts it a thousand times, so it imports little: no pathlib, argparse, json or re, which take longer than all it
does.
"""

import array
import contextlib
import hashlib
import marshal
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator

START_SECONDS = 120
STATUS = ("Umask", "Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:", "Cpus_allowed:", "Mems_allowed:")
LIBRARIES: tuple[str, ...] = (
    "ATEN_",
    "CUBLAS",
    "CUDA",
    "CUDNN",
    "DNNL_",
    "GLIBC_",
    "GOMP_",
    "KMP_",
    "LD_",
    "MALLOC_",
    "MKL_",
    "NVIDIA_",
)
LIBRARIES += ("OMP_", "ONEDNN_", "OPENBLAS_", "PYTHON", "PYTORCH_", "SLURM_JOB_ID", "TORCH")
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def available() -> bool:
    """Whether this machine can do it: Linux's abstract sockets and process file descriptors are wanted."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def address() -> str:
    """The server's name: of this user, this Python, this very code, and of what its nodes inherit from it.

    So an edited file gets a new server, and nobody's nodes have the rights, limits or folders of another's.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    content = [sys.executable, *inherited(), *sorted(_code_below(package))]
    key = hashlib.sha256("\n".join(content).encode(errors="surrogateescape")).hexdigest()[:16]
    return f"\0robust-transfer-{os.getuid()}-{key}"


def _code_below(folder: str) -> Iterator[str]:
    """Path, time and size of each Python file in a folder, at any depth."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                stat = entry.stat()
                yield f"{entry.path} {stat.st_mtime_ns} {stat.st_size}"
            elif entry.name != "__pycache__" and entry.is_dir():
                yield from _code_below(entry.path)


def inherited() -> list[str]:
    """What a process has from the one that started it, and a node does not get from its client.

    Its rights, umask, limits, processors, priority, containers, the job on a cluster with which it ends, and the
    variables that libraries read as they load.
    """
    status = [line for line in _text("status").splitlines() if line.startswith(STATUS)]
    names = (name for name in sorted(os.listdir("/proc/self/ns")) if "_for_children" not in name)
    spaces = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(LIBRARIES) and not name.endswith("_NUM_THREADS")  # Snakemake sets those for each job
    ]
    priority = str(os.getpriority(os.PRIO_PROCESS, 0))
    return [*status, _text("limits"), _text("cgroup"), *spaces, priority, *variables]


def _text(name: str) -> str:
    with open(f"/proc/self/{name}", encoding="utf-8") as file:
        return file.read()


def ask(arguments: list[str]) -> int | None:
    """Have the warm server run a command line; its exit status, or None where no server could be had."""
    connection = _connect()
    if connection is None:
        return None
    request = marshal.dumps((arguments, os.getcwd(), dict(os.environ)))  # for the same Python and the same user
    with connection, connection.makefile("r") as answers:
        streams = array.array("i", [0, 1, 2])
        # Blocked until the pid is known, so that none is lost and none ends the client alone.
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            connection.sendmsg([struct.pack("!I", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
            connection.sendall(request)
            started = answers.readline()
        except (ConnectionResetError, BrokenPipeError):  # the server ended before it took the request
            started = ""
        if not started:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            return None
        node = int(started)

        def pass_on(number: int, _frame: object) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(node, number)

        for number in PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        try:
            ended = answers.readline()
        except ConnectionResetError:
            ended = ""
    if not ended:
        print("the warm process that ran this node is gone; start again", file=sys.stderr)
        return 1
    return int(ended)


def _connect() -> socket.socket | None:
    server, gone = None, False
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(address())
            return connection if is_same_user(connection) else None
        except (ConnectionRefusedError, FileNotFoundError):
            connection.close()
        if gone:
            return None
        if server is None:
            import subprocess

            server = subprocess.Popen(
                [sys.executable, "-P", os.path.join(os.path.dirname(__file__), "__main__.py"), "warm"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        gone = server.poll() is not None  # its imports fail, or another's server was first, and the next try finds that
        time.sleep(0.1)
    return None


def is_same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is of the same user."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] == os.getuid()
