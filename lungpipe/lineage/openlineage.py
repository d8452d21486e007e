"""Events of a run for a lineage server, in the terms of OpenLineage (https://openlineage.io/spec/2-0-2/OpenLineage.json).

Events are sent where ``OPENLINEAGE_URL`` names a server, and to nobody otherwise. They hold names of stages and tables,
columns, versions and digests: no path, no identifier, no message of an error. ``OPENLINEAGE_ENDPOINT``,
``OPENLINEAGE_API_KEY`` and ``OPENLINEAGE_NAMESPACE`` mean what they mean to other clients.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lungpipe.store.tables import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

VARIABLE = "OPENLINEAGE_URL"
NAMESPACE = "lungpipe"
PRODUCER = "urn:lungpipe"
#: How long one event may take, and how long the end of a run waits for those that are still on their way.
TIMEOUT_S, LAST_WAIT_S = 5.0, 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Data:
    """Something that a stage reads or writes.

    Parameters
    ----------
    name : str
        Such as ``"generic/tables/features"``; no path of a machine.
    columns : mapping of str to tuple of str
        Type and meaning of each column, for a table.
    """

    name: str
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def table_data(dataset: str, table: str) -> Data:
    """Name a table of the workspace, with its declared columns; ``table`` is a key of the schemas."""
    columns = {column.name: (column.dtype, column.meaning) for column in SCHEMAS[table].declared}
    return Data(f"{dataset}/tables/{table}", columns)


@contextmanager
def open_lineage(
    job: str,
    parameters: Mapping[str, str],
    inputs: Sequence[Data] = (),
    outputs: Sequence[Data] = (),
    run_id: str = "",
) -> Iterator[Events]:
    """Send events of a run while it lasts: START, and COMPLETE, FAIL or ABORT.

    A server that does not answer costs the run no time but the end, :data:`LAST_WAIT_S` at most, and never an error: one
    warning is logged and nothing more is sent. Without the variable nothing is imported or done.

    Parameters
    ----------
    job : str
        Name of the job, ``"cohort"``.
    parameters : mapping
        What tells this run from others: ``recipe_sha256``, ``code_sha256``, ``lungpipe`` ...
    inputs, outputs : sequence of Data
    run_id : str
        UUID of the run; default: a new one.

    Yields
    ------
    Events
        Whose :meth:`Events.stage` reports each stage.
    """
    sender = _sender()
    events = Events(sender.put if sender else None, job, dict(parameters), run_id or str(uuid.uuid4()))
    try:
        with events.whole(inputs, outputs):
            yield events
    finally:
        if sender:
            sender.close()


@dataclass(frozen=True, slots=True)
class _Job:
    """A run or a stage of it, as one job with one run id."""

    name: str
    run_id: str
    inputs: tuple[Data, ...]
    outputs: tuple[Data, ...]
    is_stage: bool


class Events:
    """Reports the stages of one run.

    Parameters
    ----------
    send : callable or None
        Takes a function that makes an event; None where nobody listens.
    job : str
    parameters : mapping
    run_id : str
        UUID.
    """

    def __init__(
        self,
        send: Callable[[Callable[[], Any]], None] | None,
        job: str,
        parameters: Mapping[str, str],
        run_id: str,
    ) -> None:
        self._send = send
        self.job = job
        self.parameters = parameters
        self.run_id = run_id

    @contextmanager
    def stage(self, name: str, inputs: Sequence[Data] = (), outputs: Sequence[Data] = ()) -> Iterator[None]:
        """Report a stage of the run, a job of its own whose parent is the run."""
        job = _Job(f"{self.job}.{name}", str(uuid.uuid4()), tuple(inputs), tuple(outputs), is_stage=True)
        with self._reported(job):
            yield

    @contextmanager
    def whole(self, inputs: Sequence[Data], outputs: Sequence[Data]) -> Iterator[None]:
        """Report the run itself."""
        with self._reported(_Job(self.job, self.run_id, tuple(inputs), tuple(outputs), is_stage=False)):
            yield

    @contextmanager
    def _reported(self, job: _Job) -> Iterator[None]:
        """Report a block: START, then COMPLETE, FAIL or ABORT."""
        self._tell("START", job)
        try:
            yield
        except Exception as error:
            self._tell("FAIL", job, type(error).__name__)
            raise
        except BaseException:
            self._tell("ABORT", job)
            raise
        self._tell("COMPLETE", job)

    def _tell(self, kind: str, job: _Job, failure: str = "") -> None:
        if self._send is not None:
            now = datetime.now(UTC).isoformat()
            self._send(lambda: self._event(kind, job, failure, now))

    def _event(self, kind: str, job: _Job, failure: str, now: str) -> Any:
        from openlineage.client import event_v2 as events
        from openlineage.client.facet_v2 import job_type_job

        namespace = os.environ.get("OPENLINEAGE_NAMESPACE", NAMESPACE)
        nature = job_type_job.JobTypeJobFacet("BATCH", "LUNGPIPE", "TASK" if job.is_stage else "JOB", producer=PRODUCER)
        return events.RunEvent(
            eventType=events.RunState[kind],
            eventTime=now,
            run=events.Run(job.run_id, self._run_facets(job, failure, namespace)),
            job=events.Job(namespace, job.name, {"jobType": nature}),
            inputs=[events.InputDataset(namespace, one.name, facets=_facets(one)) for one in job.inputs],
            outputs=[events.OutputDataset(namespace, one.name, facets=_facets(one)) for one in job.outputs],
            producer=PRODUCER,
        )

    def _run_facets(self, job: _Job, failure: str, namespace: str) -> dict[str, Any]:
        from openlineage.client import facet_v2 as facets

        one, parent, about = facets.execution_parameters_run, facets.parent_run, {"producer": PRODUCER}
        parameters = [one.ExecutionParameter(key=name, value=value) for name, value in self.parameters.items()]
        version = self.parameters.get("lungpipe", "unknown")
        found: dict[str, Any] = {
            "executionParameters": one.ExecutionParametersRunFacet(parameters, **about),
            "processing_engine": facets.processing_engine_run.ProcessingEngineRunFacet(version, "lungpipe", **about),
        }
        if job.is_stage:
            run, above = parent.Run(self.run_id), parent.Job(namespace, self.job)
            found["parent"] = parent.ParentRunFacet(run, above, **about)
        if failure:
            found["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(failure, "PYTHON", **about)
        return found


def _facets(data: Data) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset

    fields = [
        schema_dataset.SchemaDatasetFacetFields(name, dtype, meaning) for name, (dtype, meaning) in data.columns.items()
    ]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER)} if fields else {}


def _sender() -> _Sender | None:
    """Where events go; None if nobody asked for them or they cannot be sent."""
    address = os.environ.get(VARIABLE, "").strip()
    if not address:
        return None
    try:
        from openlineage.client.transport.http import HttpConfig, HttpTransport

        key = os.environ.get("OPENLINEAGE_API_KEY")
        options: dict[str, Any] = {
            "url": address,
            "endpoint": os.environ.get("OPENLINEAGE_ENDPOINT", "api/v1/lineage"),
            "timeout": TIMEOUT_S,
            "retry": {"total": 0},
        }
        if key:
            options["auth"] = {"type": "api_key", "apiKey": key}
        return _Sender(HttpTransport(HttpConfig.from_dict(options)))
    except ImportError:
        log.warning("%s is set, but no events are sent: pip install 'lungpipe[provenance]'", VARIABLE)
    except (ValueError, RuntimeError) as error:
        log.warning("%s is set, but no events are sent: %s", VARIABLE, error)
    return None


class _Sender:
    """Makes and sends events one after another in a thread of its own, until one fails."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="openlineage", daemon=True)
        self._thread.start()

    def put(self, make: Callable[[], Any]) -> None:
        self._waiting.put(make)

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join(LAST_WAIT_S)

    def _work(self) -> None:
        alive = True
        while (make := self._waiting.get()) is not None:
            if alive:
                alive = self._sent(make)
        self._transport.close()

    def _sent(self, make: Callable[[], Any]) -> bool:
        try:
            self._transport.emit(make())
        except Exception as error:  # noqa: BLE001  whatever it is, the run goes on
            log.warning(
                "the lineage server that %s names takes no events (%s); no more are sent",
                VARIABLE,
                type(error).__name__,
            )
            return False
        return True
