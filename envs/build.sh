#!/bin/sh
# Builds the environment, for the Makefile:
#   build.sh env     .venv, exactly envs/lock.txt and this project; with CPU=1 PyTorch's builds without CUDA (Linux;
#                    elsewhere there are no others), from PyTorch's own index for them, or from the one in TORCH_INDEX
#   build.sh bench   the other attack libraries, beside it
#   build.sh lock    the lock files anew from their .in files (UPGRADE=1: what is not pinned there may move too)
# Needs a Python from 3.11 on with pip, and a package index: the one that pip or uv is set up for on this machine.
set -eu
cd "$(dirname "$0")/.."

# Nothing of the calling shell may decide what is installed, or where.
unset VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_NO_BINARY PIP_CONSTRAINT \
    UV_PYTHON UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX UV_TORCH_BACKEND UV_CONSTRAINT UV_OVERRIDE UV_BUILD_CONSTRAINT \
    UV_EXCLUDE_NEWER UV_RESOLUTION UV_PRERELEASE UV_NO_BINARY UV_NO_BUILD UV_NO_BUILD_ISOLATION
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"

fail() {
    printf '\nenvs/build.sh: %s\n' "$*" >&2
    exit 1
}
trap 'fail "interrupted; \"make env\" starts again where it can."' INT TERM

# The first Python that is new enough and has pip; 3.11 comes first because envs/environment.yaml has it too.
find_python() {
    without_pip=
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$candidate" -m pip --version >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
        without_pip=$candidate
    done
    [ -z "$without_pip" ] || fail "$without_pip has no pip: install it (Debian and Ubuntu: apt-get install python3-pip), or name another Python: make env PYTHON=/path/to/python3.12"
    fail "no Python from 3.11 on was found${PYTHON:+ as PYTHON=$PYTHON}: install one, or name it: make env PYTHON=/path/to/python3.12"
}

pip_setting() {
    "$python" -m pip config list 2>/dev/null | sed -n "s/^global\.$1='\(.*\)'\$/\1/p"
}

# uv itself, at the pinned version, where it touches nothing else.
bootstrap() {
    python=$(find_python)
    uv=$PWD/.venv-bootstrap/bin/uv
    if ! cmp -s envs/bootstrap.txt .venv-bootstrap/bootstrap.txt || ! "$uv" --version >/dev/null 2>&1; then
        rm -rf .venv-bootstrap
        "$python" -m pip install --quiet --require-hashes --only-binary :all: --target .venv-bootstrap -r envs/bootstrap.txt ||
            fail "pip could not install uv (above); is a package index within reach?"
        cp envs/bootstrap.txt .venv-bootstrap/
    fi
    # uv doesn't read pip's settings: hand on the mirror and the certificates of someone who has only those.
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        index=${PIP_INDEX_URL:-$(pip_setting index-url)}
        [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    fi
    if [ -z "${SSL_CERT_FILE:-}" ]; then
        certificates=${PIP_CERT:-$(pip_setting cert)}
        [ -z "$certificates" ] || export SSL_CERT_FILE="$certificates"
    fi
}

# The lock without PyTorch and the CUDA that it brings, for builds that need none.
without_cuda() {
    awk '/^[^ #]/ { left_out = /^(torch|torchvision|triton|nvidia-[^=]*|cuda-[^=]*)==/ } !left_out' envs/lock.txt
}

# torch and torchvision at their locked versions. Their hashes are not checked: the lock has those of the builds with CUDA.
install_for_cpu() {
    pins=$(sed -n 's/^\(torch\(vision\)\{0,1\}==[^ ;]*\).*/\1/p' envs/lock.txt)
    if [ -n "${TORCH_INDEX:-}" ]; then set -- --default-index "$TORCH_INDEX"; else set -- --torch-backend cpu; fi
    # shellcheck disable=SC2086
    "$uv" pip install --compile-bytecode --python .venv/bin/python --no-deps "$@" $pins ||
        fail "PyTorch's builds for the CPU could not be installed (above). Where they come from another index than PyTorch's own: make env CPU=1 TORCH_INDEX=<its address>; without CPU=1, \"make env CPU=0\" takes the builds with CUDA, which run on the CPU as well."
}

build_env() {
    # What it was built for stays, unless this call says otherwise.
    was=$(cat .venv/.cpu 2>/dev/null || echo 0)
    cpu=${CPU:-$was}
    case $cpu in 0 | 1) ;; *) fail "CPU=$cpu: say CPU=1 (PyTorch without CUDA) or CPU=0" ;; esac
    bootstrap
    # Without its stamp an environment is half built, and one that was moved has the old place in its scripts. A build for
    # the CPU would stay where the other one is wanted: torch==2.15.0 means 2.15.0+cpu as well.
    if [ "$cpu" != "$was" ] || [ ! -e .venv/.stamp ] || ! grep -qsF "$PWD/.venv" .venv/bin/activate || ! .venv/bin/python -c '' 2>/dev/null; then
        rm -rf .venv
        "$uv" venv --quiet --no-project --python "$python" .venv || fail "uv could not make .venv with $python (above)."
    fi
    rm -f .venv/.stamp .venv/.bench-stamp
    echo "$cpu" >.venv/.cpu
    lock=envs/lock.txt
    if [ "$cpu" = 1 ] && [ "$(uname -s)" = Linux ]; then
        lock=.venv/lock-without-cuda.txt
        without_cuda >"$lock"
    fi
    # Build constraints: the two packages that come as source are built with the locked setuptools, hashes checked.
    "$uv" pip sync --compile-bytecode --python .venv/bin/python --require-hashes --build-constraints envs/lock.txt "$lock" ||
        fail "the locked packages could not be installed (above). Mend the cause and say \"make env\" again; what was already fetched is kept."
    [ "$lock" = envs/lock.txt ] || install_for_cpu
    "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable . ||
        fail "the project itself could not be installed (above)."
    .venv/bin/python -c 'import sys, snakemake, torch, torchvision
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, snakemake {snakemake.__version__}:", end=" ")
print("CUDA GPU found." if torch.cuda.is_available() else "no CUDA GPU found, runs on the CPU.")' ||
        fail "the packages are installed but cannot be imported (above)."
    touch .venv/.stamp
}

build_bench() {
    bootstrap
    "$uv" pip install --python .venv/bin/python --no-deps --require-hashes -r envs/bench-lock.txt ||
        fail "the libraries to measure against could not be installed (above)."
    touch .venv/.bench-stamp
}

# What requirements.in pins, as the constraints of pyproject.toml: so `uv sync` takes the tested versions.
constrain() {
    "$python" - <<'EOF'
import re
from pathlib import Path

lines = Path("envs/requirements.in").read_text(encoding="utf-8").splitlines()
pins = [line.partition("#")[0].strip() for line in lines if not line.startswith("#") and line.strip()]
project = Path("pyproject.toml")
text = project.read_text(encoding="utf-8")
written = "".join(f'    "{pin}",\n' for pin in pins)
found = re.compile(r"(?m)^(constraint-dependencies = \[\n)(?:    .*\n)*(?=\])")
text = found.sub(lambda match: match[1] + written, text)
builder = next(pin for pin in pins if pin.startswith("setuptools=="))
text = re.sub(r"(?m)^(build-constraint-dependencies = ).*$", rf'\g<1>["{builder}"]', text)
project.write_text(text, encoding="utf-8")
EOF
}

# lock NAME OPTION...: NAME.in -> NAME.txt (requirements.in -> lock.txt), for every platform and Python from 3.11 on.
lock() {
    "$uv" pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes \
        ${UPGRADE:+--upgrade} "$@" >/dev/null || fail "$1 could not be resolved (above)."
}

remake_locks() {
    bootstrap
    constrain || fail "the constraints of pyproject.toml could not be written (above)." # first: uv goes by them
    lock envs/bootstrap.in --output-file envs/bootstrap.txt
    lock envs/requirements.in --output-file envs/lock.txt
    lock envs/bench.in --no-deps --output-file envs/bench-lock.txt
    for file in envs/bootstrap.txt envs/lock.txt envs/bench-lock.txt; do
        { echo '# Made by `make lock`; edit the .in file instead.'; cat "$file"; } >"$file.new"
        mv "$file.new" "$file"
    done
    # The conda environment must be made anew when the lock changes, and Snakemake looks only at its file.
    sum=$("$python" -c 'import hashlib; print(hashlib.sha256(open("envs/lock.txt", "rb").read()).hexdigest())')
    sed "s/^# lock\.txt: .*/# lock.txt: $sum/" envs/environment.yaml >envs/environment.yaml.new
    mv envs/environment.yaml.new envs/environment.yaml
}

case ${1:-} in
env) build_env ;;
bench) build_bench ;;
lock) remake_locks ;;
*) fail "say env, bench or lock" ;;
esac
