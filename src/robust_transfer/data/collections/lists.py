"""The list files of the sets: plain text, and MATLAB's."""

from pathlib import Path

import numpy as np

from robust_transfer.errors import UserError


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without the space around them.

    Bytes that are no UTF-8 survive the way to the file's name and back (surrogateescape).

    Raises:
        UserError: where it cannot be read.
    """
    try:
        content = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); unpack it again") from None
    return [line.strip() for line in content.splitlines() if line.strip()]


def mat(path: Path, *names: str) -> list[np.ndarray]:
    """Variables of a MATLAB file, each as a one-dimensional array; cell arrays of text become arrays of str.

    Raises:
        UserError: where the file is damaged or lacks one of them.
    """
    from scipy.io import loadmat

    try:
        variables = loadmat(path, squeeze_me=True, variable_names=names)
    except Exception as error:  # what scipy raises on a damaged file depends on the byte
        raise UserError(f"{path} is no whole MATLAB file ({error}); unpack it again") from None
    if missing := [name for name in names if name not in variables]:
        raise UserError(f"{path} lacks {', '.join(missing)}; unpack it again")
    return [np.atleast_1d(variables[name]) for name in names]
