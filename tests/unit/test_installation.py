"""The project as others get it: its wheel, a folder that it unfolds, and what says its version."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from robust_transfer import cli
from robust_transfer.cli.init import PARTS

REPOSITORY = Path(__file__).parents[2]
UV = REPOSITORY / ".venv-bootstrap/bin/uv"
TOP = ("pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def command(*words, **options):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def of_workflow(root):
    """All files of the workflow below a folder, with their content."""
    found = [path for name in PARTS for path in (root / name, *(root / name).rglob("*"))]
    return {p.relative_to(root): p.read_bytes() for p in found if p.is_file() and "__pycache__" not in p.parts}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of what git has, so that nothing else can get into what is built from it."""
    copy = tmp_path_factory.mktemp("copy")
    names = command("git", "-C", REPOSITORY, "ls-files", "-z", "--", "src", *PARTS, *TOP).split("\0")
    for name in filter(None, names):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, copy / name)
    return copy


def built(folder, form):
    """What setuptools makes of a folder: a wheel or an sdist."""
    command(sys.executable, "-c", BUILD, f"build_{form}", folder / form, cwd=folder)
    (path,) = (folder / form).iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(copy):
    return built(copy, "wheel")


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_a_clone_unfolds_itself_and_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["robust-transfer", "init", str(tmp_path / "mine")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and "snakemake --cores all" in capsys.readouterr().out
    assert of_workflow(tmp_path / "mine") == of_workflow(REPOSITORY)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert "is there already" in ended.value.code


def test_the_wheel_has_all_that_a_user_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    data = {name.partition("/share/robust-transfer/")[2] for name in names if "/share/robust-transfer/" in name}
    assert data == {str(path) for path in of_workflow(REPOSITORY)}
    tracked = command("git", "-C", REPOSITORY, "ls-files", "src").split()
    assert {name.removeprefix("src/") for name in tracked if not name.endswith(".md")} <= {*names}


def test_a_wheel_that_is_built_from_the_sdist_is_the_same(copy, wheel, tmp_path):
    """The sdist is all that a package index or conda-forge would have."""
    with tarfile.open(built(copy, "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    assert of_workflow(root) == of_workflow(REPOSITORY)
    with zipfile.ZipFile(built(root, "wheel")) as again, zipfile.ZipFile(wheel) as first:
        assert {*again.namelist()} == {*first.namelist()}
        assert all(again.read(name) == first.read(name) for name in first.namelist() if "RECORD" not in name)


@pytest.mark.slow
@pytest.mark.skipif(not UV.exists(), reason="installs with the uv that `make env` fetches")
def test_without_a_clone_the_workflow_runs(wheel, tmp_path):
    """From the wheel, in an environment of its own with the libraries of this one, data sets are prepared."""
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env/bin/python"
    command(UV, "pip", "install", "--python", python, "--no-deps", "--no-index", wheel)
    (site,) = (tmp_path / "env/lib").glob("*/site-packages")
    for entry in Path(yaml.__file__).parents[1].iterdir():
        if "robust_transfer" not in entry.name and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    mine = tmp_path / "mine"
    command(tmp_path / "env/bin/robust-transfer", "init", mine)
    assert of_workflow(mine) == of_workflow(REPOSITORY)
    words = ("--cores", 1, "--until", "prepare", "--config", "scale=digits", "studies=[davchev]", "main_study=davchev")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("ROBUST_", "PYTHON"))}
    command(python, "-m", "snakemake", *words, cwd=mine, env=outside)
    cards = [json.loads(path.read_text()) for path in mine.glob("results/prepare/*/card.json")]
    assert cards and all(card["git"] == {"commit": None, "dirty": None} for card in cards)
