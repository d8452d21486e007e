"""A trace as text for a person."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.lineage.trace import Trace
    from lungpipe.store.ledger import Record

#: Order of the kinds, from the feature row back.
_ORDER = ("features", "masks", "lung", "annotations", "volume")


def trace_text(trace: Trace) -> str:
    """Lines from the feature rows back to the SOP instances."""
    return "\n".join(_lines(trace))


def _lines(trace: Trace) -> Iterator[str]:
    yield f"nodule {trace.nodule_id} of patient {trace.patient_id}, series {trace.series_uid}, data set {trace.dataset}"
    if trace.originals is not None:
        yield f"  in the archive: patient {trace.originals.patient_id}, series {trace.originals.series_uid}"
    for row in trace.rows:
        yield f"rows by {row['segmenter']}: {row['features'] or 'no features'} from mask {row['mask_id']} of {row['mask']}"
    for kind in _ORDER:
        for ref, entry in trace.artefacts.items():
            if entry.kind == kind:
                yield ""
                yield from _artefact(ref, entry)
    yield ""
    yield f"{len(trace.instances)} SOP instances" + ("" if trace.instances else " (the scan is one volume file)")
    known = trace.originals.instances if trace.originals is not None else {}
    for uid in trace.instances:
        yield f"  {uid}" + (f"  {known.get(uid, 'not in any archive that was indexed')}" if trace.originals else "")
    for ref, environment in trace.environments.items():
        yield ""
        found = environment.settings
        yield f"{ref}: lungpipe {found['lungpipe']}, Python {found['python']}, {found['platform']}"
        yield f"  code {found['code_sha256']}"
        packages = sorted(found["packages"].items())
        yield "  " + ", ".join(f"{name} {version}" for name, version in packages)


def _artefact(ref: str, entry: Record) -> Iterator[str]:
    when = datetime.fromtimestamp(entry.made_at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield f"{ref}, made {when} by {entry.made_by}"
    for ref_from in entry.made_from:
        yield f"  made from  {ref_from}"
    if entry.failed:
        yield f"  failed     {entry.failed['code']}: {entry.failed['message']}"
    for title, values in (("settings", entry.settings), ("versions", entry.versions), ("inputs", entry.inputs)):
        for name, value in values.items():
            if name != "instances":
                yield f"  {title:10} {name} = {_short(value)}"
    for name, digest in entry.outputs.items():
        yield f"  output     {name} sha256:{digest}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
