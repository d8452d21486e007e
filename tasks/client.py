"""A client of a Dask scheduler that answers in time."""

from __future__ import annotations

import asyncio

from distributed import Client
from distributed.comm import connect
from distributed.security import Security

#: Seconds within which a scheduler answers.
ANSWER_S = 10.0


def client_of(address: str) -> Client:
    """Connect to a scheduler.

    Dask waits for ever for the first word of whatever takes its connection, such as a scheduler that hangs or another program's
    port; here that has a limit too.

    Parameters
    ----------
    address : str
        Such as ``"tcp://10.0.0.1:8786"``.

    Raises
    ------
    OSError
        If nobody answers, in time or as a scheduler does.
    ValueError
        If it is no address.
    """
    asyncio.run(_greeted(address))
    return Client(address, timeout=ANSWER_S, set_as_default=False)


async def _greeted(address: str) -> None:
    arguments = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=ANSWER_S, **arguments), ANSWER_S)
    await comm.close()
