"""What the header of an autoencoder's weights says, read without PyTorch: what it is, and whose scans it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lungpipe.deep.header import read_record
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lungpipe.embedding import Embedder

#: What the header's ``network`` says.
NETWORK = "vae"
#: What else it says.
KEYS = {"parameters", "sight", "latents", "trained_on"}


def read_header(path: Path) -> dict[str, Any]:
    """The record in a file of weights that ``lungpipe train-vae`` wrote.

    Raises
    ------
    DatasetError
        If there is no such file, or it is of another kind.
    """
    about = read_record(path)
    if about.get("network") != NETWORK or not about.keys() >= KEYS:
        raise DatasetError(f"{path.name} is no autoencoder; expected a .safetensors file that lungpipe train-vae wrote")
    return about


def in_words(about: Mapping[str, Any]) -> str:
    """What it was trained on, in a few words for records and reports."""
    source = about["trained_on"]
    kind = "simulated intensities" if source["intensities"] == "simulated" else "measured intensities"
    return (
        f"{source['nodules']} nodules of {source['patients']} patients of {', '.join(source['datasets'])} ({kind}), masks by "
        f"{source['segmenter']}, without labels"
    )


def weights_of(embedders: Mapping[str, Embedder]) -> dict[str, str]:
    """Files of weights of the autoencoders among a run's embedders, by the name that the recipe gives."""
    return {name: str(getattr(one, "weights", "")) for name, one in embedders.items() if one.name == NETWORK}
