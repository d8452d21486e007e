"""On what a network runs: device, precision, and as many threads as are its share."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lungpipe.errors import PluginError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: Threads of a worker, which its cluster sets so that all workers together have as many as there are cores.
THREADS_VARIABLE = "LUNGPIPE_TORCH_THREADS"


@cache
def settle() -> int:
    """Give PyTorch this process's share of the threads, once; without the variable its own default stays.

    Returns
    -------
    int
        Threads within one operation.
    """
    given = os.environ.get(THREADS_VARIABLE, "")
    if given.isdecimal() and int(given):
        torch.set_num_threads(int(given))
    return int(torch.get_num_threads())


def device_of(name: str) -> Any:
    """A device that is there.

    Parameters
    ----------
    name : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or ``"auto"`` for a GPU where there is one.

    Raises
    ------
    PluginError
        If it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        raise PluginError(f"device {name!r} is not there; there are {', '.join(there)}") from error
    return device


def laid_out(network: Any) -> Any:
    """The network with channels last in memory, in which convolutions of few channels are twice as fast on a CPU.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place; its values stay.
    """
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def precision(device: Any, wanted: str = "auto") -> AbstractContextManager[Any]:
    """A context in which a network computes in lower precision, where that helps.

    Parameters
    ----------
    device : torch.device
    wanted : {"auto", "float32", "bfloat16"}
        ``"auto"``: bfloat16 on a GPU that has it, else float16 there; on a CPU bfloat16 where it multiplies it in hardware.
    """
    if wanted == "float32" or (wanted == "auto" and device.type == "cpu" and not _multiplies_bfloat16()):
        return nullcontext()
    dtype = torch.bfloat16
    if wanted == "auto" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        dtype = torch.float16
    context: AbstractContextManager[Any] = torch.autocast(device.type, dtype)
    return context


def _multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for products of bfloat16; without them it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
