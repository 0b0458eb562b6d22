#!/usr/bin/env bash
# Snakemake runs this once, inside the conda environment that it has just made from environment.yaml.
set -euo pipefail

# It works in the folder that snakemake was started in.
if [ ! -f envs/lock.txt ]; then
    echo "start snakemake in the project's own folder: envs/lock.txt is not below $PWD" >&2
    exit 1
fi

unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_USER=0
python -m pip install --no-deps --no-build-isolation --require-hashes -r envs/lock.txt
# In a folder that `robust-transfer init` unfolded there is no project; jobs start the installed package by its path.
[ ! -f pyproject.toml ] || python -m pip install --no-deps --no-build-isolation --editable .
