"""What an optional extra brings, or a word on how to get it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lungpipe.errors import PluginError


def needed(name: str, extra: str) -> Any:
    """Import a module that an extra brings.

    Parameters
    ----------
    name : str
        Of the module.
    extra : str
        The extra of lungpipe that installs it.

    Raises
    ------
    PluginError
        If it is not installed; the message says what installs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise PluginError(f"{name} is not installed; install it with: pip install 'lungpipe[{extra}]'") from error
