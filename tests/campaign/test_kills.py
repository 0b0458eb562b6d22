"""Twenty-seven kills and a power cut: after each, the same command ends with the same bits (`make campaign`)."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from processes import LONG, Undisturbed, entry, nodes_of, servers, started, stop_servers, wait_until
from workspace import TINY, Workspace, merged

pytestmark = pytest.mark.campaign
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    made = Workspace(tmp_path_factory.mktemp("kills") / "clone")
    made.lay(merged(TINY, LONG))
    yield made
    stop_servers(made)


@pytest.fixture(scope="module")
def undisturbed(workspace):
    return Undisturbed(workspace)


def client_of(driver: subprocess.Popen, workspace: Workspace) -> psutil.Process:
    """A process that Snakemake started, and that waits for a node in the warm process."""
    found = psutil.Process(driver.pid).children(recursive=True)
    return next(process for process in found if entry(workspace) in process.cmdline())


def send(number: int, who: str, driver: subprocess.Popen, workspace: Workspace) -> None:
    """Send a signal to one of those who work at a run, or to all that Ctrl-C in a terminal would reach."""
    if who == "group":
        os.killpg(driver.pid, number)
    elif who == "driver":
        driver.send_signal(number)
    elif who == "client":
        client_of(driver, workspace).send_signal(number)
    else:
        (server,) = servers(workspace)
        (server if who == "server" else nodes_of(server)[0]).send_signal(number)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("who", ["driver", "node", "server", "client", "group"])
def test_a_signal_in_the_middle_of_a_training(workspace, undisturbed, tmp_path, who, number):
    driver = started(workspace, tmp_path / "output", undisturbed.words)
    wait_until(undisturbed.checkpoint.exists, driver)
    send(number, who, driver, workspace)
    driver.wait(300)
    undisturbed.assert_same_after_the_same_command()


def is_half_written(path: Path) -> bool:
    """Whether something stands in a temporary file of this one."""
    return any(half.stat().st_size for half in path.parent.glob(f".*.tmp/{path.name}"))


def killed_while(condition, driver: subprocess.Popen) -> None:
    """Kill Snakemake and all its jobs when a condition holds."""
    while driver.poll() is None:
        try:
            if condition():
                break
        except FileNotFoundError:  # written and renamed meanwhile
            continue
    else:
        pytest.fail("it ended before its time")
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait(30)


def test_all_killed_while_an_artifact_is_written(workspace, undisturbed, tmp_path):
    artifact = workspace.results / undisturbed.source.artifact
    driver = started(workspace, tmp_path / "output", undisturbed.words)
    killed_while(lambda: is_half_written(artifact) or artifact.exists(), driver)
    undisturbed.assert_same_after_the_same_command()


def test_all_killed_while_a_product_is_written(finished, tmp_path):
    table = finished.results / "tables/davchev/table1.csv"
    endings = (".csv", ".parquet", ".md")
    before = {ending: table.with_suffix(ending).read_bytes() for ending in endings}
    for ending in (*endings, ".json"):
        table.with_suffix(ending).unlink()
    word = str(table.relative_to(finished.root))
    driver = started(finished, tmp_path / "output", [word])
    killed_while(lambda: is_half_written(table) or table.exists(), driver)
    finished.snakemake(word, "--quiet", "all")
    assert {ending: table.with_suffix(ending).read_bytes() for ending in endings} == before
    assert list(finished.results.rglob("*.tmp")) == []
    assert finished.robust_transfer("audit").stdout.endswith(" 0 damaged\n")


def test_a_power_cut_leaves_half_files_of_all_kinds(workspace, undisturbed, tmp_path):
    """What was not yet on the disk is cut off: the checkpoint, an artifact without its card, a temporary file."""
    driver = started(workspace, tmp_path / "output", undisturbed.words)
    wait_until(undisturbed.checkpoint.exists, driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait(30)
    (server,) = servers(workspace)
    wait_until(lambda: not nodes_of(server), seconds=30)
    os.truncate(undisturbed.checkpoint, undisturbed.checkpoint.stat().st_size // 2)
    for node in undisturbed.nodes:
        artifact = workspace.results / node.artifact
        if not (workspace.results / node.card).exists():
            artifact.parent.mkdir(parents=True, exist_ok=True)
            artifact.write_bytes(undisturbed.made[node.id][:-100])
    undisturbed.assert_same_after_the_same_command()
