"""Checkpoints that were written elsewhere: what a file holds. How it lies in a network of ours is in fits.py.

Files of torch.save are read with weights_only, and of other things than tensors only plain containers and values:
nothing in a file can run.
"""

import argparse
import pickle
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.specs.networks import Normalise

WRAPPERS = ("module", "model", "_orig_mod", "net", "network", "backbone", "encoder", "1")
"""What wrappers put before the names of all of a network's tensors; 1 stands in nn.Sequential(normaliser, network)."""
NORMALISERS = (("new_mean", "new_std"), ("mean", "std"), ("means", "stds"), ("mu", "sigma"))
"""The names of a normaliser's two tensors."""
CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Where numpy keeps, and kept, what makes its numbers and arrays."""
PLAIN: list[Any] = [
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(each)) for each in ("bool", "i4", "i8", "f4", "f8")),
    *((getattr(multiarray, name), f"{core}.{name}") for core in CORES for name in ("scalar", "_reconstruct")),
    *(date, datetime, timedelta),
    *((PurePosixPath, f"pathlib.{name}") for name in ("PosixPath", "_local.PosixPath")),
]
"""What a checkpoint may hold beside tensors and Python's own containers: arguments, paths, times and numbers. They do
nothing when they are made; paths become pure ones, which reach no disk.
"""
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""What files of torch.save begin with: an archive, or before torch 1.6 a pickle."""
LISTED = 6
"""Names that a message lists at most; `robust-transfer inspect` lists all."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds of one network.

    state: name -> tensor, without what wrappers put before the names; floating ones are float32.
    entry: where the state dict stands in the file, by keys joined with points; "" is at the top. entries: likewise of
        all state dicts in the file.
    stripped: what was taken off all names, in that order.
    normalise: the normaliser that it holds.
    left_out: names of what is no weight of the network: the normaliser, copies that belong to an attacker, counters.
    converted: the floating type that the tensors have in the file, where that is not float32.
    metadata: what the file says of the network, where this project wrote it; see files.metadata.
    """

    state: dict[str, Tensor]
    entry: str = ""
    entries: tuple[str, ...] = ("",)
    stripped: tuple[str, ...] = ()
    normalise: Normalise | None = None
    left_out: tuple[str, ...] = ()
    converted: str | None = None
    metadata: Mapping[str, Any] | None = None


# ---- a file --------------------------------------------------------------------------------------------------------


def read(file: Path, entry: str | None = None, usual: Collection[str] = ()) -> Checkpoint:
    """What a checkpoint file holds. entry: which of several state dicts in it is meant, like `model_ema`. usual: which
    one is taken where none is named, the first that is there.

    Raises:
        UserError: where the file is missing, cannot be read without running what is in it, or holds no state dict, or
            several and none is named.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing; put the checkpoint there")
    found = dict(_state_dicts(_content(file)))
    if not found:
        raise UserError(f"{file} holds no state dict (names and tensors); save one")
    if entry is None:
        entry = next((each for each in usual if each in found), None)
    if entry is None and len(found) > 1:
        first, *_ = found
        raise UserError(
            f"{file} holds several state dicts: {', '.join(found)}; say which by `entry: {first}`, or --entry"
        )
    if entry is not None and entry not in found:
        raise UserError(f"{file} has no entry {entry!r} that is a state dict; it has {', '.join(found)}")
    entry = next(iter(found)) if entry is None else entry
    read = unwrapped(found[entry], str(file), files.metadata(file))
    if not read.state:
        raise UserError(f"{file} holds no weights of a network, only {listed(read.left_out)}; bring another")
    return replace(read, entry=entry, entries=tuple(found))


def _content(file: Path) -> Any:
    """What torch.save or safetensors wrote, on the CPU."""
    if wrong := _strange(file):
        reason, remedy = wrong
        raise UserError(f"{file} is no checkpoint that can be read ({reason}); {remedy}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with torch.serialization.safe_globals(PLAIN):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of bytes that are no checkpoint, readers raise anything at all
        if isinstance(error, pickle.UnpicklingError) and (unknown := _unknown(file)):
            raise UserError(
                f"{file} holds more than tensors ({unknown}), which would have to be run to be read; where you trust "
                "it, load it with the code that wrote it, and save its state dict alone: "
                "torch.save(network.state_dict(), FILE)"
            ) from None
        raise UserError(f"{file} is no checkpoint that can be read ({_first_line(error)}); fetch it again") from None


def _unknown(file: Path) -> str:
    """The foreign classes and functions that a file names."""
    try:
        with torch.serialization.safe_globals(PLAIN):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # of a broken or very old file, which is refused in any case
        return ""
    return listed(sorted(names))


def _strange(file: Path) -> tuple[str, str] | None:
    """What is wrong with a file by its beginning and end, and the remedy; what readers say of such is of no help."""
    with open(file, "rb") as content:
        beginning = content.read(9)
    if not beginning:
        return "it is empty", "fetch it again"
    is_header = beginning[8:] == b"{"  # after its length
    if file.suffix == ".safetensors":
        is_torchs = beginning.startswith((ZIP, PICKLE)) and not is_header
        return ("it is a file of torch.save", "name it .pt") if is_torchs else None
    if is_header:
        return "it begins like one of safetensors", "name it .safetensors"
    if not is_whole(file):
        return (
            "it does not begin and end as those of torch.save: it was cut off, or is something else",
            "fetch it again",
        )
    return None


def is_whole(file: Path) -> bool:
    """Whether a file begins as torch.save's do and, if it is an archive, has an end, which lists what is in it."""
    with open(file, "rb") as content:
        beginning = content.read(len(ZIP))
    return zipfile.is_zipfile(file) if beginning == ZIP else beginning.startswith(PICKLE)


def _first_line(error: Exception) -> str:
    """Of what a reader says; torch begins with how to run what is in the file, and ends with what it met."""
    found = str(error).rpartition("WeightsUnpickler error:")[2].splitlines()
    return next((line.strip() for line in found if line.strip()), type(error).__name__)


def _state_dicts(content: Any, at: str = "") -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The state dicts in a file at any depth, but for an optimiser's."""
    if not isinstance(content, Mapping):
        return
    if any(isinstance(name, str) and isinstance(value, Tensor) and value.ndim > 1 for name, value in content.items()):
        yield at, content
        return
    for key, value in content.items():
        if isinstance(key, str) and "optim" not in key.lower():
            yield from _state_dicts(value, f"{at}.{key}" if at else key)


# ---- a state dict --------------------------------------------------------------------------------------------------


def unwrapped(state: Mapping[Any, Any], origin: str, metadata: Mapping[str, Any] | None = None) -> Checkpoint:
    """A state dict, freed of what wrappers added to it. origin: where it comes from, in words.
    metadata: see Checkpoint.

    Raises:
        UserError: where it holds a normaliser that is none of pixels in [0, 1], or several.
    """
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
    out = [str(name) for name in state if name not in tensors or _is_no_weight(name)]
    stripped = ["_orig_mod"] if any("_orig_mod." in name for name in tensors) else []  # at any depth
    tensors = {name.replace("_orig_mod.", ""): value for name, value in tensors.items() if name not in out}
    normalise, of_it = _normaliser(tensors, origin)
    out += of_it
    tensors = {name: value for name, value in tensors.items() if name not in of_it}
    while wrapper := _wrapper(tensors):
        stripped.append(wrapper)
        tensors = {name.removeprefix(f"{wrapper}."): value for name, value in tensors.items()}
    types = {value.dtype for value in tensors.values() if value.is_floating_point()} - {torch.float32}
    tensors = {name: value if value.layout is torch.strided else value.to_dense() for name, value in tensors.items()}
    return Checkpoint(
        {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()},
        stripped=tuple(stripped),
        normalise=normalise,
        left_out=tuple(out),
        converted=", ".join(sorted(str(each).removeprefix("torch.") for each in types)) or None,
        metadata=metadata or None,
    )


def _is_no_weight(name: str) -> bool:
    """Whether a tensor belongs to an attacker (robustness of MadryLab), or counts averaged models (torch's)."""
    parts = name.split(".")
    return "attacker" in parts or parts[-1] == "n_averaged"


def _wrapper(names: Collection[str]) -> str | None:
    """What a wrapper put before all of the names."""
    first = {name.partition(".")[0] for name in names if "." in name}
    alone = all("." in name for name in names)
    return first.pop() if alone and len(first) == 1 and first <= {*WRAPPERS} else None


def _normaliser(tensors: Mapping[str, Tensor], origin: str) -> tuple[Normalise | None, list[str]]:
    """The normaliser among some tensors, and their names."""
    found: list[Normalise] = []
    names: list[str] = []
    for mean, std in NORMALISERS:
        for name in tensors:
            where, point, last = name.rpartition(".")
            other = where + point + std
            if last == mean and other in tensors and tensors[name].numel() == tensors[other].numel() <= 4:
                numbers = [[float(f"{x:.6g}") for x in tensors[each].flatten().tolist()] for each in (name, other)]
                try:
                    found.append(Normalise(mean=numbers[0], std=numbers[1]))
                except ValidationError:
                    raise UserError(
                        f"{origin} holds a normaliser by {numbers[0]} and {numbers[1]} ({name}), which is none of "
                        "pixels in [0, 1]; save its network without it, and say what it does as `normalise`"
                    ) from None
                names += [name, other]
    if any(not each.agrees(found[0]) for each in found):
        several = ", ".join(names)
        raise UserError(f"{origin} holds different normalisers ({several}); save the state dict of one network")
    return (found[0] if found else None), names


def broken(state: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors with values that are not finite, and of variances below zero."""
    floating = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    return [
        name
        for name, tensor in floating.items()
        if not tensor.isfinite().all() or (name.endswith("running_var") and (tensor < 0).any())
    ]


def listed(names: Collection[str]) -> str:
    """Some of the names, and how many more there are."""
    some = ", ".join([*names][:LISTED])
    return some if len(names) <= LISTED else f"{some} and {len(names) - LISTED} more"
