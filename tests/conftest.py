"""Fixtures that run the whole workflow."""

import os
import shutil

import pytest

from robust_transfer.plan import freeze
from smallest import Small, write
from workspace import TINY, Workspace, copy


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
    before = os.getcwd()
    os.chdir(place)
    os.mkdir("data")
    write(0)
    Small(place / "results").make()
    os.chdir(before)
    return place


@pytest.fixture
def small(_small, tmp_path, monkeypatch):
    """All of it made, for this test alone."""
    shutil.copytree(_small, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    monkeypatch.delenv(freeze.VARIABLE, raising=False)
    return Small(tmp_path / "w" / "results")
