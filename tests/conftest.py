"""Fixtures that run the whole workflow."""

import contextlib
import json
import os
import shutil
import sys

import pytest

from made import Small, copied, write
from pretend import pretend
from robust_transfer import cli
from robust_transfer.plan import freeze
from workspace import PARTS, TINY, Workspace, copy


@pytest.fixture(autouse=True)
def _nobodys_job(monkeypatch):
    """A test starts as no job of a run: whoever freezes a plan makes its process one."""
    monkeypatch.delenv(freeze.VARIABLE, raising=False)


@pytest.fixture
def workspace(tmp_path):
    """A folder like a fresh clone: nothing computed, config.yaml as it is shipped."""
    return Workspace(tmp_path / "clone")


@pytest.fixture
def tiny(workspace):
    """A fresh clone whose config makes every node of the study in a fraction of a second."""
    workspace.lay(TINY)
    return workspace


@pytest.fixture(scope="session")
def _pristine(tmp_path_factory):
    """(a finished tiny study, where it was made). Nobody changes the first; in the second tests work on copies."""
    place = tmp_path_factory.mktemp("finished") / "clone"
    made = Workspace(place)
    made.lay(TINY)
    made.snakemake("--quiet", "all", timeout=600)
    copy(place, place.with_name("pristine"))
    return place.with_name("pristine"), place


@pytest.fixture
def finished(_pristine):
    """A tiny study run to its end, for this test alone.

    Always the same folder, filled anew, so that all tests' nodes are forked from the same warm process.
    """
    pristine, place = _pristine
    shutil.rmtree(place)
    copy(pristine, place)
    return Workspace(place)


@pytest.fixture(scope="session")
def _small(tmp_path_factory):
    place = tmp_path_factory.mktemp("small")
    with contextlib.chdir(place):
        os.mkdir("data")
        write(0)
        Small(place / "results").make()
    return place


@pytest.fixture
def small(_small, tmp_path, monkeypatch):
    """All of it made, for this test alone."""
    return Small(copied(_small, tmp_path / "w", monkeypatch) / "results")


@pytest.fixture(scope="session")
def _pretended(tmp_path_factory):
    made = Workspace(tmp_path_factory.mktemp("pretended") / "clone")
    made.lay(TINY)
    plan = made.plan()
    pretend(plan, made.results)
    return made, plan


@pytest.fixture
def pretended(_pretended, tmp_path, monkeypatch):
    """A tiny study that looks as if it had been run to its end (see pretend), in the working directory."""
    (tmp_path / "clone").mkdir()
    for part in (*PARTS, "results"):
        copy(_pretended[0].root / part, tmp_path / "clone" / part)
    monkeypatch.chdir(tmp_path / "clone")
    return Workspace(tmp_path / "clone")


@pytest.fixture
def plan(_pretended):
    """The plan of `pretended`."""
    return _pretended[1]


@pytest.fixture
def said(monkeypatch, capsys):
    """Runs a verb of robust-transfer in this process and gives its exit status and what it wrote on the screen."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["robust-transfer", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().out

    return run


@pytest.fixture
def as_json(said):
    """Runs a verb with --json in this process and gives its exit status and what it said."""

    def run(verb, *words):
        code, text = said(verb, "--json", *words)
        return code, json.loads(text)

    return run


@pytest.fixture(scope="module")
def one_thread():
    """As the nodes of the embedded scales have it; nets this small gain nothing from more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
