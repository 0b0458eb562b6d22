"""Killed and interrupted stages, as real processes: they continue, and end with the same bits."""

import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from processes import LONG, Undisturbed, ended, entry, nodes_of, servers, stamp, started, stop_servers, wait_until
from robust_transfer.plan import freeze
from robust_transfer.plan.specs import Pgd
from robust_transfer.signals import listening
from workspace import TINY, Workspace, merged

pytestmark = pytest.mark.slow

ASKING = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]
MODES = pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="warm processes are for Linux")


class Place:
    """A results folder in which single stages are run, as a rule runs them.

    plan: as it is frozen; every: its checkpoint_seconds, if they are not to be the plan's.
    """

    def __init__(self, workspace: Workspace, results: Path, **machine):
        self.workspace, self.results = workspace, results
        self.plan = workspace.plan()
        self.plan.origin["machine"] |= machine
        self.plan_path = freeze.freeze(self.plan, results)
        del os.environ[freeze.VARIABLE]  # this process is nobody's job

    def node(self, kind: str, slug: str):
        """The one node of this kind whose slug is that, or begins or ends so."""
        (found,) = [n for n in self.plan.nodes.values() if n.kind == kind and re.fullmatch(slug, n.slug)]
        return found

    def log(self, node) -> Path:
        return self.results / "logs" / node.kind / f"{node.id}.log"

    def said(self, node) -> str:
        """The log's text."""
        return self.log(node).read_text(encoding="utf-8") if self.log(node).exists() else ""

    def checkpoint(self, node) -> Path:
        return self.results / "checkpoints" / f"{node.id}.safetensors"

    def artifact(self, node) -> Path:
        return self.results / node.artifact

    def start(self, node, warm=False, kind=None, what=None, log=True, **environment) -> subprocess.Popen:
        words = [kind or node.kind, what or node.id, "--plan", self.plan_path, "--results", self.results]
        return subprocess.Popen(
            [sys.executable, "-P", entry(self.workspace), *words, *(("--log", self.log(node)) if log else ())],
            cwd=self.workspace.root,
            env=self.workspace.environment() | {"ROBUST_TRANSFER_WARM": str(int(warm))} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, node, status=0, **options) -> str:
        """Run a stage to its end; what it wrote to stderr."""
        return ended(self.start(node, **options), status)

    def take_over(self, other: "Place", *nodes) -> None:
        """Nodes that were made elsewhere."""
        for node in nodes:
            shutil.copytree(other.results / node.folder, self.results / node.folder)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    made = Workspace(tmp_path_factory.mktemp("resume") / "clone")
    made.lay(merged(TINY, LONG))
    yield made
    stop_servers(made)


@pytest.fixture(scope="module")
def reference(workspace, tmp_path_factory):
    """A place where the data set and the PGD training were made cold and in one go."""
    place = Place(workspace, tmp_path_factory.mktemp("reference"), checkpoint_seconds=1000)
    for node in (place.node("prepare", "digits-0to4"), place.node("pretrain", r"digits-0to4\..*\.pgd")):
        place.run(node)
    return place


@pytest.fixture
def place(workspace, reference, tmp_path):
    """A place with the data set alone, in which trainings save their state all the time."""
    made = Place(workspace, tmp_path / "results")
    made.take_over(reference, reference.node("prepare", "digits-0to4"))
    return made


@pytest.fixture
def seldom(workspace, reference, tmp_path):
    """The same, but trainings save their state only when they are asked to stop."""
    made = Place(workspace, tmp_path / "results", checkpoint_seconds=1000)
    made.take_over(reference, reference.node("prepare", "digits-0to4"))
    return made


@pytest.fixture
def training(reference):
    return reference.node("pretrain", r"digits-0to4\..*\.pgd")


def assert_same(place: Place, reference: Place, node) -> None:
    """The same bytes and metrics as in the reference, and nothing left over."""
    assert place.artifact(node).read_bytes() == reference.artifact(node).read_bytes()
    one, other = (json.loads((p.results / node.card).read_text(encoding="utf-8")) for p in (place, reference))
    for key in ("id", "spec", "parents", "outputs", "metrics", "code"):
        assert one[key] == other[key], key
    assert not place.checkpoint(node).exists()
    assert list(place.results.rglob("*.tmp")) == []


# ---- killed --------------------------------------------------------------------------------------------------------


@MODES
def test_a_training_killed_again_and_again_ends_with_the_same_bits(place, reference, training, warm):
    moments = random.Random(7)
    process = place.start(training, warm=warm)
    time.sleep(0.2)  # during the imports, where it is cold
    for _ in range(5 if warm else 3):
        before = stamp(place.checkpoint(training))
        wait_until(lambda before=before: stamp(place.checkpoint(training)) > before, process)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        ended(process, -signal.SIGKILL)
        if warm:
            (server,) = servers(place.workspace)
            wait_until(lambda server=server: not nodes_of(server), seconds=10)
        assert not place.artifact(training).exists()
        process = place.start(training, warm=warm)
    process.kill()
    ended(process, -signal.SIGKILL)
    place.run(training, warm=warm)
    assert "continuing at iteration" in place.said(training)
    assert_same(place, reference, training)


def test_what_a_killed_process_was_writing_is_swept_away(place, reference, training):
    (place.results / "checkpoints").mkdir()
    for path in (place.checkpoint(training), place.artifact(training)):
        dead = writer(place.workspace, path)
        dead.kill()
        ended(dead, -signal.SIGKILL)
        assert len(temporaries(path)) == 1
    living = writer(place.workspace, place.artifact(training))
    (being_written,) = (path for path in temporaries(place.artifact(training)) if path.read_text() == str(living.pid))
    place.run(training, warm=True)
    assert being_written.read_text() == str(living.pid)
    living.kill()
    ended(living, -signal.SIGKILL)
    shutil.rmtree(being_written.parent)
    assert_same(place, reference, training)


def writer(workspace: Workspace, path: Path) -> subprocess.Popen:
    """A process that has begun to write a file, with its number in it, and never ends."""
    code = f"""
import os, time
from pathlib import Path
from robust_transfer.store import replacing
with replacing(Path({str(path)!r})) as temporary:
    temporary.write_text(str(os.getpid()))
    print(flush=True)
    time.sleep(1000)
"""
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(
        command, env=workspace.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "\n"
    return process


def temporaries(path: Path) -> list[Path]:
    """The half-written files of a file."""
    return list(path.parent.glob(f".*.tmp/{path.name}"))


# ---- asked to stop -------------------------------------------------------------------------------------------------


@MODES
def test_a_training_asked_to_stop_saves_its_state_first(seldom, reference, training, warm):
    for i, number in enumerate(ASKING):
        epochs = seldom.said(training).count(" epoch ")
        process = seldom.start(training, warm=warm)
        wait_until(lambda epochs=epochs: seldom.said(training).count(" epoch ") > epochs, process)
        before = stamp(seldom.checkpoint(training))
        assert bool(before) == bool(i), "nobody but the signal has it saved"
        process.send_signal(number)
        sentence = f"pretrain {training.id}: stopped by {number.name}; the state is saved; the same command continues\n"
        assert ended(process, 128 + number) == sentence
        assert seldom.said(training).endswith(sentence)
        assert stamp(seldom.checkpoint(training)) > before
        assert not seldom.artifact(training).exists()
        assert seldom.said(training).count("continuing at iteration") == i
    seldom.run(training, warm=warm)
    assert seldom.said(training).count("continuing at iteration") == len(ASKING)
    assert_same(seldom, reference, training)


def test_under_nohup_a_closed_terminal_stops_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


@LINUX
def test_ctrl_c_in_a_stage_without_a_state_is_one_sentence(place, reference, training, tmp_path):
    place.take_over(reference, training)
    data = place.node("prepare", "digits-0to4")
    attack = Pgd(algorithm="pgd", eps=0.1, steps=10**6, step_size="eps/4", random_start=False)
    spec = {"attack": attack.canonical(), "split": "test", "seed": 0}
    node = place.plan.add("craft", "endless", spec, model=training, data=data)
    place.plan_path = freeze.freeze(place.plan, place.results)
    del os.environ[freeze.VARIABLE]
    process = place.start(node, warm=True)
    wait_until(lambda: any(nodes_of(server) for server in servers(place.workspace)), process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert ended(process, 130) == f"craft {node.id}: stopped by SIGINT; the same command starts again\n"
    assert list((place.results / node.folder).iterdir()) == []


# ---- the warm process ----------------------------------------------------------------------------------------------


@LINUX
def test_warm_and_cold_give_the_same_bytes(place, reference, training):
    data = place.node("prepare", "digits-0to4")
    shutil.rmtree(place.results / data.folder)
    for node in (data, training):
        place.run(node, warm=True)
        assert_same(place, reference, node)


@LINUX
def test_killing_the_client_kills_the_node(place, training):
    process = place.start(training, warm=True)
    wait_until(place.checkpoint(training).exists, process)
    (server,) = servers(place.workspace)
    assert len(nodes_of(server)) == 1
    process.kill()
    ended(process, -signal.SIGKILL)
    wait_until(lambda: not nodes_of(server), seconds=10)
    before = stamp(place.checkpoint(training))
    time.sleep(0.5)
    assert stamp(place.checkpoint(training)) == before
    assert not place.artifact(training).exists()


@LINUX
def test_two_clients_at_once_have_one_server_started(place, reference, training):
    stop_servers(place.workspace)
    other = place.node("pretrain", r"digits-0to4\..*\.nat")
    processes = [place.start(node, warm=True) for node in (training, other, training)]
    for process in processes:
        ended(process)
    assert len(servers(place.workspace)) == 1
    assert_same(place, reference, training)
    assert place.artifact(other).exists()


@LINUX
def test_a_failing_stage_gives_its_status_and_its_sentence(place, training):
    assert "Traceback" not in (said := place.run(training, status=1, warm=True, what="no-such-node.0123456789ab"))
    assert re.fullmatch(r"pretrain no-such-node\.0123456789ab: .* is not in the plan .*\n", said)
    model = place.artifact(place.node("prepare", "digits-0to4"))
    model.write_bytes(model.read_bytes()[:-1])
    said = place.run(training, status=1, warm=True)
    assert re.fullmatch(
        rf"pretrain {training.id}: .*data\.safetensors has [\d,]+ bytes, but was written with .*\n", said
    )
    assert place.said(training).endswith(said)
    process = place.start(training, warm=True, kind="no-such-stage")
    assert "invalid choice: 'no-such-stage'" in ended(process, 2)


@LINUX
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_server_ends_its_nodes_save_and_the_client_says_so(seldom, reference, training, number):
    process = seldom.start(training, warm=True)
    wait_until(lambda: " epoch " in seldom.said(training), process)
    (server,) = servers(seldom.workspace)
    (node,) = nodes_of(server)
    server.send_signal(number)
    assert "the warm process that ran this node is gone; start again\n" in ended(process, 1)
    wait_until(lambda: not node.is_running() or node.status() == psutil.STATUS_ZOMBIE, seconds=20)
    assert seldom.checkpoint(training).exists()
    seldom.run(training, warm=True)
    assert "continuing at iteration" in seldom.said(training)
    assert_same(seldom, reference, training)


@LINUX
def test_an_edited_file_gets_a_new_server(place, training):
    data = place.node("prepare", "digits-0to4")
    place.run(data, warm=True)
    before = servers(place.workspace)
    source = place.workspace.root / "src" / "robust_transfer" / "stages" / "prepare.py"
    text, times = source.read_text(encoding="utf-8"), source.stat()
    source.write_text(text.replace("def run(job", "def run(job: Job):\n    exit('edited')\n\n\ndef old_run(job"))
    try:
        assert ended(place.start(data, warm=True), 1) == "edited\n"
        after = servers(place.workspace)
        assert len(after) == len(before) + 1
    finally:
        source.write_text(text, encoding="utf-8")
        os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    place.run(data, warm=True)
    assert {server.pid for server in servers(place.workspace)} == {server.pid for server in after}
    for server in {*after} - {*before}:
        server.kill()
        server.wait(10)


@LINUX
def test_a_server_goes_when_it_is_idle_but_not_while_a_node_runs(tmp_path):
    workspace = Workspace(tmp_path / "clone")
    workspace.lay(merged(TINY, LONG))
    source = workspace.root / "src" / "robust_transfer" / "run" / "warm.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(re.sub(r"^IDLE_SECONDS = .*$", "IDLE_SECONDS = 1", text, flags=re.MULTILINE), encoding="utf-8")
    place = Place(workspace, tmp_path / "results")
    place.run(place.node("prepare", "digits-0to4"), warm=True)
    assert len(servers(workspace)) == 1
    place.run(place.node("pretrain", r"digits-0to4\..*\.pgd"), warm=True)
    wait_until(lambda: not servers(workspace), seconds=20)


@LINUX
def test_without_a_server_the_stage_runs_cold(tmp_path):
    workspace = Workspace(tmp_path / "clone")
    workspace.lay(TINY)
    source = workspace.root / "src" / "robust_transfer" / "run" / "warm.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace('    "torch",\n', '    "no_such_module",\n', 1), encoding="utf-8")
    place = Place(workspace, tmp_path / "results")
    data = place.node("prepare", "digits-0to4")
    began = time.monotonic()
    place.run(data, warm=True)
    assert time.monotonic() - began < 60, "it did not wait for a server that cannot come"
    assert place.artifact(data).exists()
    assert servers(workspace) == []


@LINUX
@pytest.mark.parametrize("answer", [None, b"", b"999999999\n"], ids=["none", "a request read", "a node started"])
def test_a_server_that_ends_under_a_client(tmp_path, workspace, reference, answer):
    """answer: what a server says, once it has read a request, before it ends; None where it does not even read."""
    place = Place(workspace, tmp_path / "results")
    data = place.node("prepare", "digits-0to4")
    environment = {"PYTHONPATH": f"{workspace.root / 'src'}:{tmp_path}"}  # with an address of its own
    code = "from robust_transfer.run.client import address; print(address()[1:])"
    name = workspace.run(sys.executable, "-c", code, **environment).stdout.strip()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(f"\0{name}")
        server.listen()
        process = place.start(data, warm=True, **environment)
        connection, _ = server.accept()
        server.close()
        if answer is not None:
            (size,) = struct.unpack("!I", connection.recv(4))
            connection.recv(size, socket.MSG_WAITALL)
            connection.sendall(answer)
        connection.close()
        if answer:
            assert ended(process, 1) == "the warm process that ran this node is gone; start again\n"
        else:
            ended(process)
            assert_same(place, reference, data)


# ---- the whole workflow --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(workspace):
    return Undisturbed(workspace)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL])
def test_after_any_signal_to_snakemake_alone_the_same_command_is_enough(workspace, undisturbed, tmp_path, number):
    # With a screen, which has threads of its own, as well as without.
    screen = ["--logger", "studies"] if number in (signal.SIGTERM, signal.SIGINT) else []
    process = started(workspace, tmp_path / "output", undisturbed.words + screen)
    wait_until(undisturbed.checkpoint.exists, process)
    process.send_signal(number)
    # Its jobs go on meanwhile: Snakemake waits for them, or they go on as orphans.
    assert process.wait(250) == (-number if number == signal.SIGKILL else 1)
    undisturbed.assert_same_after_the_same_command()


def test_snakemake_killed_again_and_again(workspace, undisturbed, tmp_path):
    """With all its jobs, as when a machine goes down; then alone, so that its jobs go on as orphans."""
    moments, checkpoint = random.Random(3), undisturbed.checkpoint
    for whole in (True, False):
        before = stamp(checkpoint)
        process = started(workspace, tmp_path / "output", undisturbed.words)
        wait_until(lambda before=before: stamp(checkpoint) > before, process)
        time.sleep(moments.uniform(0, 0.5))
        # The group is the session that was started above: Snakemake and all its jobs.
        os.killpg(process.pid, signal.SIGKILL) if whole else process.kill()
        assert process.wait(30) == -signal.SIGKILL
    undisturbed.assert_same_after_the_same_command()


# ---- a full disk ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB; leave(bytes) fills it but for that much."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")

    def leave(size):
        (folder / "filler").unlink(missing_ok=True)
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
        (folder / "filler").write_bytes(bytes(free - size))

    yield folder, leave
    subprocess.run(["umount", folder], check=True)


@LINUX
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(workspace, reference, tmp_path, small_disk):
    disk, leave = small_disk
    place = Place(workspace, tmp_path / "elsewhere")
    place.results = disk / "results"
    data = place.node("prepare", "digits-0to4")
    network = place.node("pretrain", r"digits-0to4\..*\.nat")
    outcomes = place.plan.add("evaluate", "clean", {"split": "test"}, model=network, data=data)
    complained_of = set()
    for node, every in ((data, 1), (network, 1e-6), (network, 1000), (outcomes, 1)):
        place.plan.origin["machine"]["checkpoint_seconds"] = every
        place.plan_path = freeze.freeze(place.plan, tmp_path / "elsewhere")
        del os.environ[freeze.VARIABLE]
        shutil.rmtree(place.results / node.folder, ignore_errors=True)
        for pages in range(200):
            leave(4096 * pages)
            process = place.start(node, warm=True)
            _, errors = process.communicate(timeout=200)
            if process.returncode == 0:
                break
            assert process.returncode == 1
            sentence = rf"{node.kind} {node.id}: no space is left (.*); make room on that disk and start again\n"
            match = re.fullmatch(sentence, errors)
            assert match, errors
            complained_of.add(match[1].rpartition("/")[2])
            assert list(disk.rglob("*.tmp")) == []
            assert not (place.results / node.card).exists()
        else:
            pytest.fail("there is always too little room")
    assert {"data.safetensors", "model.safetensors", "outcomes.parquet", "card.json"} <= complained_of
    assert place.checkpoint(network).name in complained_of
    assert_same(place, reference, data)
