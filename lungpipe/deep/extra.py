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


def ask_for_deep() -> None:
    """Ask for the extra ``deep`` before any work, without loading what it brings.

    Raises
    ------
    PluginError
        If a part of it is not installed.
    """
    from importlib.util import find_spec

    for module in ("torch", "monai", "safetensors"):
        if find_spec(module) is None:
            raise PluginError(f"{module} is not installed; install it with: pip install 'lungpipe[deep]'")
