"""What cards say of the code; and the committed list of what the code of each stage was when its version was set.

`python tests/unit/test_provenance.py --write` renews the list.
"""

import json
import os
import platform
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from robust_transfer import provenance, registry
from robust_transfer.plan import specs
from robust_transfer.plan.graph import PRODUCTS, Plan
from robust_transfer.run.nodes import modules_of
from robust_transfer.stages.node import KINDS

LIST = Path(__file__).with_name("fingerprints.json")
RENEW = "python tests/unit/test_provenance.py --write"


# ---- the committed list --------------------------------------------------------------------------------------------


def stages():
    """What each kind's version and code are; the code of what its specs name is not in it, see forms."""
    modules = {kind: f"robust_transfer.stages.{kind}" for kind in KINDS}
    modules |= dict.fromkeys(PRODUCTS, "robust_transfer.run.products")
    versions = {kind: about.version for kind, about in KINDS.items()} | PRODUCTS
    return {kind: {"version": versions[kind], "code": provenance.fingerprint(modules[kind])} for kind in modules}


def forms():
    """The code of each network family, attack, term and reader."""
    rooms = ("models.families", "attacks.algorithms", "terms", "data.readers")
    packages = [import_module(f"robust_transfer.{room}") for room in rooms]
    found = [module.__name__ for package in packages for module in registry.modules(package.__name__, package.__path__)]
    return {name.removeprefix("robust_transfer."): provenance.fingerprint(name) for name in found}


def defaults():
    """The default of every field that enters an id."""
    found = {}
    for model in every_spec(specs.Spec):
        for field, about in model.model_fields.items():
            if about.default is not PydanticUndefined and not about.exclude:
                default = about.default
                found[f"{model.__name__}.{field}"] = (
                    default.model_dump(mode="json") if isinstance(default, specs.Spec) else default
                )
    return dict(sorted(found.items()))


def every_spec(base):
    """The specs of nodes: what the rooms and the ground define, but for config and studies."""
    for model in base.__subclasses__():
        yield from every_spec(model)
        if not model.__module__.startswith(
            ("robust_transfer.plan", "robust_transfer.studies", "robust_transfer.claims", "test_")
        ):
            yield model


def write():
    """Renew the list."""
    recorded = {"stages": stages(), "forms": forms(), "defaults": defaults()}
    LIST.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize("kind", [*KINDS, *PRODUCTS])
def test_the_code_of_a_stage_changes_only_with_a_decision_about_its_version(kind):
    recorded = json.loads(LIST.read_text(encoding="utf-8"))["stages"].get(kind, {"version": 0, "code": "nothing"})
    now = stages()[kind]
    if now["code"] != recorded["code"] and now["version"] == recorded["version"]:
        pytest.fail(
            f"The code behind `{kind}` is not what it was when version {now['version']} was set. If the same spec can "
            f"now give another result, raise the version in stages/{kind}.py: old results keep their old ids. "
            f"If results stay the same to the last bit, leave it. Then renew the list: {RENEW}",
            pytrace=False,
        )
    if now != recorded:
        pytest.fail(f"`{kind}` has a new version; renew the list: {RENEW}", pytrace=False)


def test_the_code_of_a_form_changes_only_with_a_decision_about_versions():
    recorded, now = json.loads(LIST.read_text(encoding="utf-8")).get("forms", {}), forms()
    changed = sorted(name for name in recorded.keys() | now.keys() if recorded.get(name) != now.get(name))
    if changed:
        pytest.fail(
            f"The code of {', '.join(changed)} is not what it was. If the same spec can now give another result, raise "
            f"the version of each kind that uses it in stages/. If results stay the same to the last bit, or the form "
            f"is new, leave it. Then renew the list: {RENEW}",
            pytrace=False,
        )


def test_a_default_changes_only_with_a_decision_about_versions():
    recorded, now = json.loads(LIST.read_text(encoding="utf-8"))["defaults"], defaults()
    changed = sorted(name for name in recorded.keys() | now.keys() if recorded.get(name, ...) != now.get(name, ...))
    if changed:
        pytest.fail(
            f"Defaults were changed, added or taken away: {', '.join(changed)}. Ids leave defaults out, so a changed "
            "one gives old ids a new meaning: raise the versions of the kinds that it touches in stages/. A new "
            f"field whose default means what was done before is fine. Then renew the list: {RENEW}",
            pytrace=False,
        )


# ---- fingerprints --------------------------------------------------------------------------------------------------

SMALL = {
    "__init__.py": '"""A package."""\n',
    "errors.py": "LIMIT = 1\n",
    "plan/__init__.py": "",
    "plan/specs.py": "MOMENTUM = 0.9\n",
    "stages/__init__.py": "",
    "stages/job.py": "KEPT = 1\n",
    "stages/train.py": (
        "import math\n\n"
        "from robust_transfer.errors import LIMIT\n"
        "from robust_transfer.plan.specs import MOMENTUM\n"
        "from robust_transfer.run import job\n"
        "from robust_transfer.training import loop\n\n\n"
        "def run():\n    return loop.train(2, LIMIT, MOMENTUM, job.KEPT, math.pi)\n"
    ),
    "training/__init__.py": "",
    "training/loop.py": (
        '"""The loop."""\n\n'
        "from typing import TYPE_CHECKING\n\n"
        "if TYPE_CHECKING:\n    from robust_transfer.training import types\n\n"
        "def train(x, *rest):\n"
        '    """Double it."""\n'
        "    import robust_transfer.training.schedule\n"
        "    return robust_transfer.training.schedule.RATE * x\n"
    ),
    "training/schedule.py": "RATE = 0.1\nNAMES = ['a', None]\n",
    "training/other.py": "UNUSED = 1\n",
    "training/types.py": "SHAPE = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """edit(file, old, new): the fingerprint of a small package's `train` after that edit of it."""
    root = tmp_path / "robust_transfer"
    for name, text in SMALL.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")

    def edit(file="training/loop.py", old="", new=""):
        text = SMALL[file]
        assert old in text
        (root / file).write_text(text.replace(old, new) if old else text + new, encoding="utf-8")
        forget()
        found = provenance.fingerprint("robust_transfer.stages.train")
        (root / file).write_text(text, encoding="utf-8")
        return found

    monkeypatch.setattr(provenance, "PACKAGE", root)
    yield edit
    forget()


def forget():
    for kept in (provenance.fingerprint, provenance.code_of, provenance._imports, provenance._tree):
        kept.cache_clear()


@pytest.mark.parametrize(
    "edit",
    [
        ("training/loop.py", "", "# a comment\n"),
        ("training/loop.py", "The loop.", "Another text."),
        ("training/loop.py", '    """Double it."""\n', ""),
        ("training/loop.py", "train(x, *rest)", "train(\n    x,\n    *rest,\n)"),
        ("training/schedule.py", "['a', None]", '["a",\n None]'),
        ("training/schedule.py", "0.1", "0.10"),
        ("training/other.py", "1", "2"),
        ("training/types.py", "1", "2"),
        ("plan/specs.py", "0.9", "0.8"),
        ("errors.py", "1", "2"),
        ("stages/job.py", "1", "2"),
    ],
    ids=lambda edit: f"{edit[0]}: {edit[1][:12]!r} to {edit[2][:12]!r}",
)
def test_wording_layout_and_bookkeeping_do_not_count(package, edit):
    assert package(*edit) == package()


@pytest.mark.parametrize(
    "edit",
    [
        ("stages/train.py", "train(2", "train(3"),
        ("training/loop.py", "RATE * x", "RATE / x"),
        ("training/loop.py", "(x, *rest)", "(x=None, *rest)"),
        ("training/schedule.py", "0.1", "0.2"),
        ("training/schedule.py", "'a'", "'b'"),
        ("training/schedule.py", "None", "0"),
        ("training/schedule.py", "None", "''"),
        ("training/schedule.py", ", None", ""),
        ("training/schedule.py", "RATE", "RATES"),
        ("training/__init__.py", "", "import robust_transfer.training.other\n"),
    ],
    ids=lambda edit: f"{edit[0]}: {edit[1][:12]!r} to {edit[2][:12]!r}",
)
def test_every_change_of_the_code_counts(package, edit):
    assert package(*edit) != package()


def test_a_text_that_is_a_value_is_no_docstring(package):
    assert package("training/schedule.py", "0.1", "'a'") != package("training/schedule.py", "0.1", "'b'")


def test_the_fingerprint_of_a_training_covers_its_parts_and_no_table():
    covered = provenance.imported_by("robust_transfer.stages.pretrain")
    for module in ("training.loop", "training.schedule", "attacks.perturb", "data.augment"):
        assert f"robust_transfer.{module}" in covered
    assert not any(".tables" in module or ".figures" in module or ".plan" in module for module in covered)


def test_the_modules_of_a_training_are_those_of_its_terms_tuned_ones_too():
    plan = Plan({})
    data = plan.add("prepare", "data", {"source": "sklearn-digits"})
    terms = {"schedule": {"epochs": 1, "batch_size": 4, "lr": 0.1}, "terms": {"head_penalty": 0.1, "trades": 0}}
    node = plan.add("transfer", "model", terms | {"tuned": ["lr", "start_distance"]}, data=data)
    found = [name for name in modules_of(node, plan) if ".terms" in name]
    assert found == ["robust_transfer.terms.head_penalty", "robust_transfer.terms.start_distance"]


# ---- the rest of a card --------------------------------------------------------------------------------------------


def test_the_commit_and_whether_files_differ_from_it(tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    (clone / "src/package").mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", clone / "src/package")
    assert provenance.git_state() == {"commit": None, "dirty": None}

    def git(*words):
        nobody = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "core.hooksPath=/dev/null")
        return subprocess.run(["git", "-C", clone, *nobody, *words], check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    (clone / "src" / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    (clone / "results").mkdir()
    (clone / "results" / "made").write_text("untracked files are no change of the code")
    assert provenance.git_state() == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}
    (clone / "src" / "a.py").write_text("2")
    assert provenance.git_state()["dirty"] is True
    # Installed inside of somebody's repository.
    (clone / "env/site-packages/package").mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", clone / "env/site-packages/package")
    assert provenance.git_state() == {"commit": None, "dirty": None}


def test_on_a_slow_file_system_the_commit_is_known_and_whether_files_differ_is_not(tmp_path, monkeypatch):
    (tmp_path / "clone/src/package").mkdir(parents=True)
    (tmp_path / "clone/.git").mkdir()
    slow = tmp_path / "git"
    slow.write_text('#!/bin/sh\ncase "$*" in *rev-parse*) echo 0123abcd ;; *) exec sleep 5 ;; esac\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "clone/src/package")
    monkeypatch.setattr(provenance, "PATIENCE", 0.5)
    assert provenance.git_state() == {"commit": "0123abcd", "dirty": None}


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert provenance.git_state() == {"commit": None, "dirty": None}


def test_versions_and_machine():
    assert provenance.versions()["python"] == platform.python_version()
    assert {"torch", "numpy", "advertorch"} <= provenance.versions().keys()
    assert provenance.machine().keys() == {"system", "processor", "cores"}
    assert platform.node() not in map(str, provenance.machine().values())
    assert provenance.machine()["cores"] == os.cpu_count()
    assert 10 < provenance.peak_memory_mb() < 100_000


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"to renew {LIST.name}: {RENEW}")
    write()
