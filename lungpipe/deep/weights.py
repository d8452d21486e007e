"""Files of weights: our own, with a record of what they are, and those that users bring.

Our own are safetensors: numbers and a JSON text, nothing that is executed. A file that a user brings may be a pickle; only
its tensors are read (``weights_only``), and one that holds code is refused before any of it runs.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from lungpipe.deep.header import ABOUT, read_record
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Keys under which others' checkpoints hold their tensors.
HOLDERS = ("state_dict", "model_state_dict", "trunk_state_dict", "model", "network", "net")
#: What PyTorch's parallel wrappers put before every name.
WRAPPED = "module."
#: Names that a message shows at most.
SHOWN = 5


def save(path: Path, tensors: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write tensors and a record of what they are, as a whole or not at all.

    Parameters
    ----------
    path : Path
    tensors : mapping of str to Tensor
        Such as a network's ``state_dict()``.
    about : mapping
        JSON values: architecture, parameters, what it was trained on.
    """
    beside = path.with_name(f".{path.name}.part")
    values = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(values, beside, metadata={ABOUT: json.dumps(about, sort_keys=True)})
    beside.replace(path)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Record and tensors of a file that :func:`save` wrote.

    Raises
    ------
    DatasetError
        If there is no such file, it is no safetensors file, or it has no record of ours.
    """
    return read_record(path), load_file(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def outside_tensors(path: Path, sha256: str = "") -> dict[str, Any]:
    """Tensors of a checkpoint that a user brings: safetensors, or a file that ``torch.save`` wrote.

    Parameters
    ----------
    path : Path
    sha256 : str
        What the file's SHA-256 must be; empty for whatever it is.

    Returns
    -------
    dict of str to Tensor
        By name, without the prefix of parallel wrappers.

    Raises
    ------
    DatasetError
        If the file is missing, has another SHA-256, holds more than tensors (nothing of it is executed), or none.
    """
    if not path.is_file():
        raise DatasetError(f"no weights at {path}")
    found = digest(path)
    if sha256 and found != sha256.lower():
        raise DatasetError(
            f"{path.name}: expected SHA-256 {sha256.lower()}, found {found}; it is another file or was damaged, fetch it again"
        )
    try:
        content = _opened(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, safetensors.SafetensorError) as error:
        raise DatasetError(
            f"{path.name} is refused: it holds more than tensors, or is no checkpoint ({_first_line(error)}). Nothing of it was "
            "executed. Where you trust it, save its state_dict() alone, best as safetensors"
        ) from error
    for key in HOLDERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {
        str(name).removeprefix(WRAPPED): value
        for name, value in (content.items() if isinstance(content, dict) else ())
        if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise DatasetError(f"{path.name} holds no tensors by name; expected the state_dict of a network")
    return tensors


def _opened(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():  # of a pickle of another protocol, which is then refused or read
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def load_into(network: Any, tensors: Mapping[str, Any], name: str, *, without: tuple[str, ...] = ()) -> None:
    """Put tensors into a network, all of them.

    Parameters
    ----------
    network : torch.nn.Module
    tensors : mapping of str to Tensor
    name : str
        Of the file, for messages.
    without : tuple of str
        Beginnings of names that count on neither side, such as the last layer of a classifier.

    Raises
    ------
    DatasetError
        If a tensor is missing, has another shape, or has no place in the network.
    """
    own = {key: value for key, value in network.state_dict().items() if not key.startswith(without)}
    given = {key: value for key, value in tensors.items() if not key.startswith(without)}
    wrong = [
        f"{key} is {tuple(given[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    missing, spare = sorted(set(own) - set(given)), sorted(set(given) - set(own))
    if wrong or missing or spare:
        parts = [f"of another shape: {_some(wrong)}"] if wrong else []
        parts += [f"missing: {_some(missing)}"] if missing else []
        parts += [f"without a place: {_some(spare)}"] if spare else []
        raise DatasetError(
            f"{name} does not fit the network; {'; '.join(parts)}. Check that the file is of this architecture and its parameters"
        )
    network.load_state_dict({**network.state_dict(), **given})


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
