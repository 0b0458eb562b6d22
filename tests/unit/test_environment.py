"""The environment as envs/build.sh and uv build it: what the locks say, and a build for the CPU with stand-ins."""

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
ENVS = REPOSITORY / "envs"
UV = REPOSITORY / ".venv-bootstrap/bin/uv"
LOCK = (ENVS / "lock.txt").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
BACKEND = """
import zipfile
INFO = {"own-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n", "own-1.dist-info/WHEEL":
        "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n", "own-1.dist-info/RECORD": ""}
def build_editable(folder, settings=None, metadata=None):
    with zipfile.ZipFile(f"{folder}/own-1-py3-none-any.whl", "w") as file:
        for name, text in INFO.items():
            file.writestr(name, text)
    return "own-1-py3-none-any.whl"
"""


def pins(text):
    """Name -> version of what a requirements file pins."""
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==([^\s;\\#]+)", text.lower(), re.MULTILINE))


def needed_by():
    """Name -> the names that the lock has it for."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.partition("\n")[2])
    return {
        block.partition("==")[0]: re.findall(r"^    #(?: via|  ) (-r [\w/.]+|[\w.-]+)$", block, re.MULTILINE)
        for block in blocks
    }


def without_cuda(folder):
    """The part of the lock that a build for the CPU installs, as build.sh says it."""
    script = (ENVS / "build.sh").read_text(encoding="utf-8")
    function = re.search(r"^without_cuda\(\) \{\n.*?^\}\n", script, re.MULTILINE | re.DOTALL)[0]
    return subprocess.run(
        ["sh", "-c", f"{function}\nwithout_cuda"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


# ---- what the files say ----------------------------------------------------------------------------------------------


def test_without_cuda_all_is_left_out_that_torch_alone_needs_of_it():
    left_out = pins(LOCK).keys() - pins(without_cuda(REPOSITORY)).keys()
    assert {"torch", "torchvision", "triton", "nvidia-cublas"} <= left_out
    above, linux = needed_by(), re.findall(r"^([\w.-]+)==\S+ ;.*sys_platform == 'linux'", LOCK, re.MULTILINE)
    only_for_torch, more = {"torch"}, True
    while more:
        found = {name for name in linux if {*above[name]} <= only_for_torch}
        more = not found <= only_for_torch
        only_for_torch |= found
    assert left_out == only_for_torch | {"torchvision"}
    assert LOCK.count("--hash=") > without_cuda(REPOSITORY).count("--hash=") > 1000


def test_uv_sync_takes_what_is_pinned():
    wanted = pins((ENVS / "requirements.in").read_text(encoding="utf-8"))
    settings = PROJECT["tool"]["uv"]
    assert pins("\n".join(settings["constraint-dependencies"])) == wanted
    assert pins(settings["build-constraint-dependencies"][0]) == {"setuptools": wanted["setuptools"]}
    assert wanted.items() <= pins(LOCK).items()


def test_the_conda_environment_belongs_to_this_lock():
    text = (ENVS / "environment.yaml").read_text(encoding="utf-8")
    assert f"# lock.txt: {hashlib.sha256(LOCK.encode()).hexdigest()}" in text
    environment = yaml.safe_load(text)
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    names = [re.match(r"[a-z]+", each)[0] for each in environment["dependencies"]]
    assert names == ["python", "pip", "setuptools"]


# ---- images ----------------------------------------------------------------------------------------------------------


def instructions(text):
    """(word, arguments) of a Containerfile, its continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line and not line.startswith("#")]


def sections(text):
    """The header of an Apptainer definition, and its sections by name."""
    head, *rest = re.split(r"^%", text, flags=re.MULTILINE)
    header = dict(line.split(": ") for line in head.splitlines() if line and not line.startswith("#"))
    return header, {part.partition("\n")[0]: part.partition("\n")[2] for part in rest}


@pytest.fixture(scope="module")
def images():
    read = ((ENVS / name).read_text(encoding="utf-8") for name in ("Containerfile", "apptainer.def"))
    return instructions(next(read)), sections(next(read))


def test_both_images_are_built_alike_and_from_what_is_there(images):
    container, (header, parts) = images
    assert [word for word, _ in container] == ["FROM", "RUN", "COPY", "ARG", "RUN", "ENV", "WORKDIR", "CMD"]
    assert header == {"Bootstrap": "docker", "From": container[0][1]}
    assert [*parts] == ["arguments", "files", "post", "environment", "runscript"]
    python = re.fullmatch(r"python:(3\.\d+)-slim-\w+", header["From"])[1]
    assert f"python ={python}" in yaml.safe_load((ENVS / "environment.yaml").read_text())["dependencies"]
    scripts = [words for word, words in container if word == "RUN"], parts["post"].splitlines()
    for script in scripts:
        text = "\n".join(script)
        assert subprocess.run(["sh", "-n", "-c", text], check=False).returncode == 0
        assert "sh envs/build.sh env" in text and "git clone --quiet" in text
    assert dict(container)["COPY"].split()[0] == parts["files"].split()[0] == ".git"
    assert all(
        "/opt/robust-transfer/.venv/bin:$PATH" in text for text in (dict(container)["ENV"], parts["environment"])
    )


# ---- a build for the CPU ---------------------------------------------------------------------------------------------


def wheel(folder, name, version, module=""):
    """A wheel of nothing but a module of that name; returns its file."""
    file = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name.replace('-', '_')}/__init__.py", module)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file


def index(folder, wheels):
    """A package index in a folder."""
    for file in wheels:
        page = folder / re.split(r"-\d", file.name)[0].replace("_", "-") / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a") as text:
            text.write(f'<a href="../../files/{file.name}">{file.name}</a>\n')
    return folder.as_uri()


TORCH = "__version__ = '{}'\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"


@pytest.fixture
def clone(tmp_path):
    """A clone with a small lock, and two indexes: one with builds with CUDA, one with builds for the CPU."""
    root, files = tmp_path / "clone", tmp_path / "files"
    for folder in (root / "envs", files):
        folder.mkdir(parents=True)
    for name in ("Makefile", "envs/build.sh", "envs/bootstrap.txt"):
        shutil.copy(REPOSITORY / name, root / name)
    (root / ".venv-bootstrap").symlink_to((REPOSITORY / ".venv-bootstrap").resolve())
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "own"\nversion = "1"\n'
    )
    ordinary = [
        wheel(files, "snakemake", "9.0", "__version__ = '9.0'"),
        wheel(files, "torch", "2.0", TORCH.format("2.0")),
        wheel(files, "torchvision", "0.1"),
        wheel(files, "nvidia-cublas", "13.0"),
    ]
    for_cpu = [wheel(files, "torch", "2.0+cpu", TORCH.format("2.0+cpu")), wheel(files, "torchvision", "0.1+cpu")]
    lines = [
        f"{file.name.split('-')[0].replace('_', '-')}=={file.name.split('-')[1]} \\\n"
        f"    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n    # via somebody"
        for file in ordinary
    ]
    (root / "envs/lock.txt").write_text("\n".join(lines) + "\n")
    index(tmp_path / "ordinary", ordinary)
    index(tmp_path / "cpu", for_cpu)
    return root


def make_env(clone, *words, check=True):
    """What `make env` says; then torch's version and whether something of CUDA is there."""
    names = ("CPU", "TORCH_INDEX", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    outside = {name: value for name, value in os.environ.items() if name not in names}
    outside |= {"UV_DEFAULT_INDEX": (clone.parent / "ordinary").as_uri(), "UV_CACHE_DIR": str(clone.parent / "cache")}
    done = subprocess.run(
        ["make", "env", *words], cwd=clone, env=outside, capture_output=True, text=True, timeout=120, check=False
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) is check, said
    (site,) = (clone / ".venv/lib").glob("*/site-packages")
    found = {path.stem.partition("-")[0]: path.stem.partition("-")[2] for path in site.glob("*.dist-info")}
    return said, found.get("torch"), "nvidia_cublas" in found


@pytest.mark.skipif(not UV.exists(), reason="installs with the uv that `make env` fetches")
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="elsewhere there are no builds with CUDA")
def test_builds_for_the_cpu_are_taken_where_they_are_asked_for_and_kept(clone):
    there = f"TORCH_INDEX={(clone.parent / 'cpu').as_uri()}"
    _, *found = make_env(clone)
    assert found == ["2.0", True]
    said, *found = make_env(clone, "CPU=1", there)
    assert found == ["2.0+cpu", False] and "torch 2.0+cpu, snakemake 9.0: no CUDA GPU found" in said
    said, *found = make_env(clone, "CPU=1", there)
    assert "Nothing to be done" in said and found == ["2.0+cpu", False]
    os.utime(clone / "envs/lock.txt")  # as if the lock had changed
    _, *found = make_env(clone, there)
    assert found == ["2.0+cpu", False], "what it is stays"
    _, *found = make_env(clone, "CPU=0")
    assert found == ["2.0", True]
    said, *_ = make_env(clone, "CPU=1", f"TORCH_INDEX={(clone.parent / 'nowhere').as_uri()}", check=False)
    assert "PyTorch's builds for the CPU could not be installed" in said and "Traceback" not in said
    said, *_ = make_env(clone, "CPU=yes", check=False)
    assert "CPU=yes: say CPU=1" in said
