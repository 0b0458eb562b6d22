"""One warm process that forks the nodes.

Importing torch costs seconds and most nodes at digits scale take less, so on one machine the nodes are forked from a
process that has imported everything and read the plan. The client (a stage started with ROBUST_TRANSFER_WARM=1) is
light: it finds the server of this very code, or starts it, hands over its command line, directory, environment and
standard streams, passes signals on, and ends as the node ends. Killing the client kills the node. The server goes when
it has been idle for a while.

Only on Linux, and only for nodes that a Snakemake makes beside it: on one machine, or those of a bundle on a cluster
(see plan/bundles.py). A cluster job with one node is its own process.
"""

import contextlib
import gc
import marshal
import os
import selectors
import signal
import socket
import struct
import sys
from importlib import import_module
from pathlib import Path

from robust_transfer.errors import UserError
from robust_transfer.plan import freeze
from robust_transfer.run.client import PASSED_ON, address, is_same_user
from robust_transfer.run.command import arguments_of, make
from robust_transfer.signals import end_with_parent

IDLE_SECONDS = 30
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
        if not is_same_user(connection):
            connection.close()
            return
        try:
            connection.settimeout(10)
            head, streams, _, _ = socket.recv_fds(connection, 4, 3)
            body = b""
            while len(body) < struct.unpack("!I", head)[0]:
                body += connection.recv(1 << 20) or _gone()
            arguments, directory, environment = marshal.loads(body)
        except (OSError, EOFError, ValueError, TypeError, struct.error):
            connection.close()
            return
        connection.settimeout(None)
        if plan := environment.get(freeze.VARIABLE):
            with contextlib.suppress(UserError):  # the node will say it
                freeze.keep(Path(plan))
        gc.freeze()  # so that no node walks through all that was imported
        pid = os.fork()
        if pid == 0:
            self._become_node(arguments, directory, environment, streams)
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

    def _become_node(
        self, arguments: list[str], directory: str, environment: dict[str, str], streams: list[int]
    ) -> None:
        """In the forked child: the client's place, then the node, then the end of the process."""
        status = 1
        try:
            end_with_parent(signal.SIGTERM)  # when its server ends, a node saves and ends
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
            os.chdir(directory)
            os.environ.clear()
            os.environ.update(environment)
            status = make(arguments_of(arguments))
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
    """Import what the nodes compute with: the libraries, and all that this package's stages and their forms import; and
    find out what every card says alike.
    """
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
    for module in own:
        provenance.code_of(module)
    provenance.versions()
    provenance.machine()


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
