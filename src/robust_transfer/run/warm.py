"""One warm process that forks the nodes.

Importing torch costs seconds and most nodes at digits scale take less, so on one machine the nodes are forked from a
process that has imported everything and done nothing. The client (a stage started with ROBUST_TRANSFER_WARM=1) is
light: it finds the server of this very code, or starts it, hands over its command line, directory, environment and
standard streams, passes signals on, and ends as the node ends. Killing the client kills the node. The server goes when
it has been idle for a while.

Only on Linux, and only for nodes that a local Snakemake runs; a cluster job is its own process.
"""

import array
import contextlib
import ctypes
import hashlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from robust_transfer.run.command import arguments_of, make

IDLE_SECONDS = 30
START_SECONDS = 120
PRELOADED = (
    "torch",
    "torch._dynamo",  # what the first optimiser of a process would import, for seconds
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "safetensors.torch",
    "sklearn.datasets",
)
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
LIBRARIES += ("OMP_", "ONEDNN_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH")
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def available() -> bool:
    """Whether this machine can do it: Linux's abstract sockets and process file descriptors are wanted."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def address() -> str:
    """The server's name: of this user, this Python, this very code, and of what its nodes inherit from it.

    So an edited file gets a new server, and nobody's nodes have the rights, limits or folders of another's.
    """
    package = Path(__file__).parent.parent
    content = [sys.executable, *inherited()]
    for path in sorted(package.rglob("*.py")):
        stat = path.stat()
        content.append(f"{path} {stat.st_mtime_ns} {stat.st_size}")
    key = hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]
    return f"\0robust-transfer-{os.getuid()}-{key}"


def inherited() -> list[str]:
    """What a process has from the one that started it, and a node does not get from its client.

    Its rights, umask, limits, processors, priority, containers, and the variables that libraries read as they load.
    """
    process = Path("/proc/self")
    status = [line for line in (process / "status").read_text().splitlines() if line.startswith(STATUS)]
    limits, group = (process / "limits").read_text(), (process / "cgroup").read_text()
    spaces = [os.readlink(link) for link in sorted((process / "ns").iterdir()) if "_for_children" not in link.name]
    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(LIBRARIES) and not name.endswith("_NUM_THREADS")  # Snakemake sets those for each job
    ]
    return [*status, limits, group, *spaces, str(os.getpriority(os.PRIO_PROCESS, 0)), *variables]


# ---- the client ----------------------------------------------------------------------------------------------------


def ask(arguments: list[str]) -> int | None:
    """Have the warm server run a command line; its exit status, or None where no server could be had."""
    connection = _connect()
    if connection is None:
        return None
    request = json.dumps({"arguments": arguments, "directory": os.getcwd(), "environment": dict(os.environ)}).encode()
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
            return connection if _same_user(connection) else None
        except (ConnectionRefusedError, FileNotFoundError):
            connection.close()
        if gone:
            return None
        if server is None:
            server = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("__main__.py")), "warm"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        gone = server.poll() is not None  # its imports fail, or another's server was first, and the next try finds that
        time.sleep(0.1)
    return None


def _same_user(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] == os.getuid()


# ---- the server ----------------------------------------------------------------------------------------------------


class Server:
    """Forks a node for each connection; see the module."""

    def __init__(self, listening: socket.socket):
        self.listening = listening
        self.selector = selectors.DefaultSelector()
        self.nodes: dict[int, socket.socket] = {}
        self.selector.register(listening, selectors.EVENT_READ, self._accept)

    def serve(self) -> None:
        """Until nothing has run for IDLE_SECONDS."""
        while True:
            events = self.selector.select(IDLE_SECONDS)
            if not events and not self.nodes:
                return
            for key, _ in events:
                key.data(key.fileobj)

    def _accept(self, _listening: socket.socket) -> None:
        connection, _ = self.listening.accept()
        if not _same_user(connection):
            connection.close()
            return
        try:
            connection.settimeout(10)
            head, streams, _, _ = socket.recv_fds(connection, 4, 3)
            body = b""
            while len(body) < struct.unpack("!I", head)[0]:
                body += connection.recv(1 << 20) or _gone()
            request = json.loads(body)
        except (OSError, ValueError, struct.error):
            connection.close()
            return
        connection.settimeout(None)
        pid = os.fork()
        if pid == 0:
            self._become_node(request, streams)
        for stream in streams:
            os.close(stream)
        self._start_watching(pid, connection)

    def _start_watching(self, pid: int, connection: socket.socket) -> None:
        self.nodes[pid] = connection
        process = os.pidfd_open(pid)
        with contextlib.suppress(OSError):
            connection.sendall(f"{pid}\n".encode())

        def node_ended(descriptor: int) -> None:
            self.selector.unregister(descriptor)
            os.close(descriptor)
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(connection)
            with contextlib.suppress(OSError):
                connection.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
            connection.close()
            del self.nodes[pid]

        def client_gone(_connection: socket.socket) -> None:
            # The client says nothing after its request: something to read is its end, which is to end the node too.
            self.selector.unregister(connection)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        self.selector.register(process, selectors.EVENT_READ, node_ended)
        self.selector.register(connection, selectors.EVENT_READ, client_gone)

    def _become_node(self, request: dict, streams: list[int]) -> None:
        """In the forked child: the client's place, then the node, then the end of the process."""
        status = 1
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: when its server ends, a node saves and ends
            os.setsid()
            self.selector.close()
            self.listening.close()
            for connection in self.nodes.values():
                connection.close()
            for target, stream in enumerate(streams):
                os.dup2(stream, target)
                os.close(stream)
            for number in PASSED_ON:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.chdir(request["directory"])
            os.environ.clear()
            os.environ.update(request["environment"])
            status = make(arguments_of(request["arguments"]))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def _gone() -> bytes:
    raise ConnectionResetError


def preload() -> None:
    """Import what the nodes compute with: the libraries, and all that this package's stages and their forms import."""
    from robust_transfer import provenance
    from robust_transfer.attacks.algorithms import ALGORITHMS
    from robust_transfer.data.readers import READERS
    from robust_transfer.models.families import FAMILIES
    from robust_transfer.stages.node import KINDS

    stages = [f"robust_transfer.stages.{kind}" for kind in KINDS]
    forms = [form.__module__ for form in (*ALGORITHMS, *READERS, *FAMILIES)]
    own = provenance.imported_by("robust_transfer.run.nodes", "robust_transfer.run.products", *stages, *forms)
    for module in (*PRELOADED, *sorted(own)):
        import_module(module)


def main() -> int:
    """Be the server, unless there is one; returns its exit status."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    name = address()
    try:
        listening.bind(name)
    except OSError:
        return 0
    listening.listen(1024)  # clients that come during the imports wait here
    preload()
    os.chdir("/")  # keeps nobody from removing or unmounting the folder it was started in
    Server(listening).serve()
    return 0
