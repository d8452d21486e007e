"""Segmentation networks by name.

Each is a module (n, channels, z, y, x) -> logits (n, 1, z, y, x). Channel 0 is HU clipped to -1000 to 400 and scaled to 0 to
1, channel 1 the prompt. The builder's own parameters are keyword arguments with defaults.
"""

from __future__ import annotations

import difflib
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Where each architecture is built: a function of ``in_channels`` and its own keyword arguments.
NETWORKS: Mapping[str, str] = {
    "unet": "lungpipe.deep.nets.unet:unet",
    "unetpp": "lungpipe.deep.nets.unetpp:unetpp",
    "r2unet": "lungpipe.deep.nets.r2unet:r2unet",
    "mpunet": "lungpipe.deep.nets.mpunet:mpunet",
    "unet25d": "lungpipe.deep.nets.unet25d:unet25d",
    "prob_unet": "lungpipe.deep.nets.prob_unet:prob_unet",
}


def builder(name: str) -> Callable[..., Any]:
    """The function that builds an architecture.

    Raises
    ------
    DatasetError
        If there is none of that name.
    """
    if name not in NETWORKS:
        close = difflib.get_close_matches(name, NETWORKS, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(NETWORKS)}"
        raise DatasetError(f"no network {name!r}; {advice}")
    module, _, function = NETWORKS[name].partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def build(name: str, in_channels: int, parameters: Mapping[str, Any]) -> Any:
    """Build an architecture, its weights by PyTorch's current random numbers.

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`.
    in_channels : int
    parameters : mapping
        Keyword arguments of its builder.

    Raises
    ------
    DatasetError
        If the name or a parameter is unknown.
    """
    function = builder(name)
    known = [key for key in inspect.signature(function).parameters if key != "in_channels"]
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise DatasetError(f"network {name!r} has no parameter {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    return function(in_channels, **parameters)
