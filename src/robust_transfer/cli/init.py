"""a folder to work in without a clone: Snakefile, config.yaml and workflow/, as this version has them"""

import argparse
import shutil
from pathlib import Path

from robust_transfer.errors import UserError

PARTS = (
    *("Snakefile", "config.yaml", "workflow"),
    *("envs/environment.yaml", "envs/environment.post-deploy.sh", "envs/lock.txt"),
)
"""Files and folders. Those of envs/ are for `snakemake --sdm conda`; Snakemake looks at the first for every job."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where."""
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="is made if need be (default: this one)")


def run(options: argparse.Namespace) -> int:
    """Unfold the workflow there, and touch nothing that is there already."""
    origin, folder = workflow(), options.folder
    if there := [name for name in PARTS if (folder / name).exists()]:
        raise UserError(f"{folder / there[0]} is there already; nothing was written. Name another folder")
    try:
        for name in PARTS:
            if (origin / name).is_dir():
                shutil.copytree(origin / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin / name, folder / name)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror}; the folder is not complete") from None
    print(f"{folder}: config.yaml says what is to be run, `snakemake --cores all` there runs it")
    return 0


def workflow() -> Path:
    """The folder that has this version's workflow: the clone, or what was installed beside the package.

    Raises:
        UserError: where the package was installed without it.
    """
    from importlib import metadata

    import robust_transfer

    clone = Path(robust_transfer.__file__).parents[2]
    if all((clone / name).exists() for name in PARTS):
        return clone
    files = metadata.files("robust-transfer") or ()
    for file in files:
        if file.match("robust-transfer/Snakefile") and (found := Path(str(file.locate()))).exists():
            return found.parent
    raise UserError("the workflow was not installed with the package; install it with pip or uv, or use a clone")
