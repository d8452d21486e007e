"""What schedulers and workers are told where they are started elsewhere: Dask's settings as environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask

from lungpipe.errors import DatasetError
from lungpipe.store.record import code_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client

#: Of these the process that starts a cluster takes care itself.
_OURS = "distributed.deploy."
#: What the scheduler decides; a scheduler with other values loses scans, or waits for ever.
_DECISIVE = (
    "distributed.scheduler.allowed-failures",
    "distributed.scheduler.worker-saturation",
    "distributed.scheduler.worker-ttl",
)
_THREADS = "distributed.nanny.pre-spawn-environ"


def as_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables under which a process of Dask has the settings that local workers have.

    Parameters
    ----------
    settings : mapping
        Dask's, by dotted name.

    Returns
    -------
    dict
        ``DASK_...`` for each setting, and the variables of native thread pools themselves.
    """
    variables = {str(name): str(value) for name, value in settings.get(_THREADS, {}).items()}
    for name, value in settings.items():
        if not name.startswith(_OURS):
            key = "DASK_" + name.upper().replace(".", "__").replace("-", "_")
            variables[key] = value if isinstance(value, str) else repr(value)
    return variables


def require_alike(client: Client, address: str, settings: Mapping[str, Any]) -> list[str]:
    """Refuse a scheduler or workers with other code than ours; tell which settings the scheduler should have.

    Parameters
    ----------
    client : Client
    address : str
        As the user knows the scheduler.
    settings : mapping
        That a scheduler of ours has.

    Returns
    -------
    list of str
        A sentence for each setting that is otherwise.

    Raises
    ------
    DatasetError
        If the scheduler or a worker cannot import lungpipe, or imports another version.
    """
    fix = "install the same version there, and start it with `lungpipe scheduler` or `lungpipe worker`"
    try:
        theirs, code = client.run_on_scheduler(_scheduler_says)
        answers = client.run(code_digest, on_error="return").values()
        for answer in answers:
            if isinstance(answer, ImportError):
                raise answer
    except ImportError as error:
        raise DatasetError(f"the Dask cluster at {address} cannot import {error.name}; {fix}") from error
    # A worker that does not answer is the scheduler's to count out.
    if {code, *(answer for answer in answers if isinstance(answer, str))} != {code_digest()}:
        raise DatasetError(f"the Dask cluster at {address} runs another version of lungpipe than this one; {fix}")
    return [
        f"the scheduler at {address} has {name} = {theirs[name]!r}, not {settings[name]!r}; `lungpipe scheduler` sets it"
        for name in _DECISIVE
        if theirs[name] != settings[name]
    ]


def _scheduler_says() -> tuple[dict[str, Any], str]:
    return {name: dask.config.get(name) for name in _DECISIVE}, code_digest()
