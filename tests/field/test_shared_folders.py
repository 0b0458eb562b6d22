"""One results/ for several people, machines and containers, and folders with any name."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from robust_transfer import locks, store
from robust_transfer.errors import UserError
from robust_transfer.plan import freeze, jobs, stopping
from workspace import REPOSITORY, Workspace, copy, planned

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="warm processes are for Linux")
DAY = 24 * 3600


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """What is exported for jobs is not exported beyond a test."""
    for variable in (freeze.VARIABLE, jobs.VARIABLE, "PATH", "ROBUST_TRANSFER_WARM"):
        monkeypatch.setenv(variable, os.environ.get(variable, ""))


def python(code: str, *arguments: object, **options) -> subprocess.Popen:
    """A process of this package's code; its stdout is a pipe."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, **options)


# ---- several writers of one file -----------------------------------------------------------------------------------


def test_two_writers_at_once_each_have_a_file_of_their_own_and_the_last_wins(tmp_path):
    path = tmp_path / "node" / "data.safetensors"
    with store.replacing(path) as one:
        one.write_text("one, and half of it")
        with store.replacing(path) as other:
            other.write_text("other")
            assert one.read_text() == "one, and half of it"
        assert path.read_text() == "other"
        one.write_text("one")
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("kernel", "age", "is_held", "is_left"),
    [
        ("own", 0, False, False),
        ("own", 2 * DAY, True, True),
        ("0123abcd", 0, False, True),
        ("0123abcd", 2 * DAY, False, False),
        ("0123abcd", 2 * DAY, True, True),
    ],
)
def test_half_files_are_swept_away_where_their_writer_is_proved_to_be_dead(tmp_path, kernel, age, is_held, is_left):
    half = tmp_path / f".model.safetensors.{kernel.replace('own', locks.kernel())}.0123456789ab.tmp"
    half.mkdir()
    for name in ("model.safetensors", store.LOCK):
        (half / name).write_text("half")
        os.utime(half / name, (time.time() - age,) * 2)
    with open(half / store.LOCK, "r+") as writer:
        if is_held:
            assert locks.lock(writer.fileno())
        store.write_json(tmp_path / "card.json", {})
    assert half.exists() == is_left


def test_a_writer_whose_file_was_taken_away_says_so(tmp_path):
    with (
        pytest.raises(UserError, match=r"model\.safetensors.* was taken away while it was written to; start again"),
        store.replacing(tmp_path / "model.safetensors") as temporary,
    ):
        shutil.rmtree(temporary.parent)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ü" * 120 + ".json", "x" * 250 + ".json", "a:b 'c' \"d\"\n.json", "-rf"])
def test_files_of_any_name_are_written(tmp_path, name):
    store.write_json(tmp_path / name, {})
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o027, 0o640)])
def test_files_have_the_rights_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        store.write_json(tmp_path / "card.json", {})
        with store.replacing(tmp_path / "model.safetensors") as temporary:
            save_file({"weight": np.zeros(2)}, temporary)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_a_living_writer_is_left_alone_whatever_files_its_library_makes(tmp_path):
    with store.replacing(tmp_path / "model.safetensors") as temporary:
        save_file({"weight": np.zeros(2)}, temporary)  # by a file of its own, renamed
        store.write_json(tmp_path / "card.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "card.json"}


# ---- one maker of one node -----------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from robust_transfer import locks
with locks.alone(Path(sys.argv[1])):
    print(flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_the_second_waits_for_the_first_and_is_told_so(tmp_path):
    path = tmp_path / "locks" / "node"
    holder = python(HOLDER, path, 0.5)
    assert holder.stdout.readline() == "\n"
    assert path.read_text().startswith(f"process {holder.pid} on ")
    began = time.monotonic()
    with locks.alone(path) as waited:
        assert waited and time.monotonic() - began > 0.2
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert holder.wait(10) == 0
    assert list(path.parent.iterdir()) == []


def test_a_killed_holder_holds_nothing(tmp_path):
    holder = python(HOLDER, tmp_path / "node", 1000)
    assert holder.stdout.readline() == "\n"
    holder.kill()
    holder.wait(10)
    with locks.alone(tmp_path / "node") as waited:
        assert not waited


def test_many_at_once_are_one_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with locks.alone(tmp_path / "node"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80 and max(most) == 1


def test_a_file_system_without_locks_stops_nobody(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    with locks.alone(tmp_path / "node") as waited:
        store.write_json(tmp_path / "card.json", {})
    assert not waited and (tmp_path / "card.json").exists()


# ---- another person's results --------------------------------------------------------------------------------------


def test_a_colleagues_plan_is_only_read(tmp_path, monkeypatch):
    plan = planned("davchev")
    path = freeze.freeze(plan, tmp_path)

    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", forbidden)
    assert freeze.freeze(plan, tmp_path) == path
    freeze.must_be_frozen()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_where_nothing_may_be_written_planning_works_and_making_is_one_sentence(tmp_path, monkeypatch, number):
    def forbidden(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store, "replacing", forbidden)
    freeze.freeze(planned("davchev"), tmp_path)
    with pytest.raises(UserError, match="is not yours to write to, so nothing can be made there; ask its owner"):
        freeze.must_be_frozen()


@LINUX
def test_a_warm_process_serves_only_those_who_would_have_started_it_the_same():
    code = "import os, resource\n{}\nfrom robust_transfer.run.client import address; print(address()[1:])"
    changes = {
        "umask": "os.umask(0o077)",
        "limits": "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
        "priority": "os.nice(1)",
        "a library's variable": "os.environ['MKL_CBWR'] = 'COMPATIBLE'",
    }
    processes = [python(code.format(change)) for change in ("", "", *changes.values())]
    one, same, *others = (process.communicate(timeout=60)[0] for process in processes)
    assert one == same != ""
    assert len({one, *others}) == 1 + len(changes)


# ---- folders of any name -------------------------------------------------------------------------------------------

RULE = (REPOSITORY / "workflow/rules/nodes.smk").read_text(encoding="utf-8")
START = re.search(r"exec (.+) node ", RULE)[1].replace('\\"', '"')
"""How the rules start a node."""
NAMES = ["a:b", 'it\'s a "place" $HOME `x` ;&#%', "-rf", "mit Ümläuten 图", "long" * 60, "new\nline"]


@pytest.mark.parametrize("name", NAMES)
def test_a_job_runs_the_code_of_its_own_clone(tmp_path, name):
    source = tmp_path / name / "src"
    copy(REPOSITORY / "src/robust_transfer", source / "robust_transfer")
    with open(source / "robust_transfer/run/command.py", "a", encoding="utf-8") as file:
        file.write("\nprint('this very code')\n")
    done = subprocess.run(
        ["bash", "-c", f"exec {START} prepare none.0123456789ab --plan gone.json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), jobs.VARIABLE: str(source)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "this very code\n", done.stderr
    assert done.returncode == 1 and "the frozen plan gone.json is gone" in done.stderr


def test_a_job_of_another_clone_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(jobs.VARIABLE, str(REPOSITORY / "src"))
    jobs.must_be_the_workflows_own()
    monkeypatch.setenv(jobs.VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=rf"this is the code in .*, but the workflow's is in {tmp_path}; look for"):
        jobs.must_be_the_workflows_own()


def test_folders_that_snakemake_or_the_shell_cannot_name_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="braces"):
        jobs.set_environment(tmp_path / "a{b}" / "src", warm=True)
    monkeypatch.setattr(sys, "executable", "/a:b/bin/python")
    with pytest.raises(UserError, match="Python lies in /a:b/bin"):
        jobs.set_environment(tmp_path, warm=True)


@pytest.mark.slow
def test_a_whole_run_in_a_folder_with_a_bad_name(tmp_path):
    workspace = Workspace(tmp_path / "-a:b 'ü' 图")
    outside = tmp_path / "results: of 'all'"
    outside.mkdir()
    workspace.results.symlink_to(outside)
    source = workspace.root / "src/robust_transfer/stages/prepare.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(
        text.replace("def run(job: Job)", "def run(job):\n    exit('this very code')\n\n\ndef old(job: Job)")
    )
    node = next(n for n in workspace.plan().nodes.values() if n.slug == "digits-0to4")
    assert "this very code" in workspace.snakemake(f"results/{node.card}", check=False).stdout
    source.write_text(text, encoding="utf-8")
    workspace.snakemake(f"results/{node.card}")
    assert store.checked_artifact(workspace.results / node.folder, "data.safetensors").exists()


# ---- Snakemake's own lock ------------------------------------------------------------------------------------------

DRIVER = """
import atexit, sys, time
from pathlib import Path
from robust_transfer.plan import stopping
folder = Path(sys.argv[1])
atexit.register(stopping.take_over_locks(folder))
(folder / "locks").mkdir(exist_ok=True)
(folder / "locks" / "0.output.lock").write_text("results/x")
print(flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def driver(tmp_path):
    """started(seconds): a process that holds the lock of tmp_path as Snakemake does, and forgets to take it away."""
    processes = []

    def started(seconds: float) -> subprocess.Popen:
        processes.append(python(DRIVER, tmp_path, seconds))
        assert processes[-1].stdout.readline() == "\n"
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "locks" / "0.output.lock"


def test_the_lock_of_a_killed_snakemake_is_taken_away(tmp_path, driver, lock):
    process = driver(1000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stopping.take_over_locks(tmp_path)()
    assert not lock.exists()


def test_the_lock_of_a_living_snakemake_stays_even_if_another_was_killed(tmp_path, driver, lock):
    driver(1000)
    other = driver(1000)
    other.kill()
    other.wait()
    stopping.take_over_locks(tmp_path)()
    assert lock.exists()


def test_a_lock_that_none_of_ours_can_have_left_stays(tmp_path, driver, lock):
    assert driver(0).wait(10) == 0  # it ended well, so the lock is somebody else's
    stopping.take_over_locks(tmp_path)()
    assert lock.exists()


def test_the_lock_of_another_machine_stays(tmp_path, driver, lock):
    process = driver(1000)
    process.kill()
    process.wait()
    record = tmp_path / stopping.RECORD
    began, token, *_ = record.read_text().split()
    record.write_text(f"{began} {token} 0123abcd elsewhere\n")
    stopping.take_over_locks(tmp_path)()
    assert lock.exists()
    assert record.read_text().count("began") == 2


def test_the_bundles_of_a_killed_snakemake_go_and_those_of_a_living_one_stay(tmp_path, driver):
    process = driver(1000)
    bundle = tmp_path / "bundles" / "0123abcd.json"
    bundle.parent.mkdir()
    bundle.touch()
    stopping.take_over_locks(tmp_path)()
    assert bundle.exists()
    process.kill()
    process.wait()
    stopping.take_over_locks(tmp_path)()
    assert not bundle.exists()
