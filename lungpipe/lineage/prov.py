"""Where a run's results, or the rows of one nodule, come from, in the terms of W3C PROV.

PROV-DM (W3C Recommendation, 2013): every artefact is an entity, its making an activity that ended when its record was
written, and the code with its packages a software agent.
"""

from __future__ import annotations

import json
import re
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.lineage.about import needs_extra
from lungpipe.lineage.summed import BETWEEN, SUMMED, leading_to
from lungpipe.lineage.trace import trace_nodule
from lungpipe.store.ledger import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lungpipe.lineage.trace import Trace
    from lungpipe.store.ledger import Record
    from lungpipe.store.place import Place

#: Artefacts of scans that are exported one by one; a document of 100,000 would take gigabytes of memory.
MOST_RECORDS = 20_000
#: Name of the ``prov`` package for a format, by the ending of a file.
FORMATS = {".json": "json", ".provn": "provn", ".ttl": "rdf"}
#: Prefix and address of each kind of identifier.
NAMESPACES = {
    "lungpipe": "urn:lungpipe:",
    "artefact": "urn:lungpipe:artefact:",
    "making": "urn:lungpipe:making:",
    "environment": "urn:lungpipe:environment:",
    "series": "urn:lungpipe:series:",
    "nodule": "urn:lungpipe:nodule:",
    "instance": "urn:oid:",
}


def provenance(place: Place, nodule_id: str = "", most: int = MOST_RECORDS) -> Any:
    """Describe where results come from.

    Parameters
    ----------
    place : Place
        The workspace.
    nodule_id : str
        Pseudonym of a nodule: only what its rows lead back to, with every SOP instance of its scan. Without one: all that
        the results of the workspace lead back to, each series one collection with the number of its instances.
    most : int
        Most artefacts of scans that are given one by one; if there are more, each kind of them is one collection.

    Returns
    -------
    prov.model.ProvDocument

    Raises
    ------
    DatasetError
        If there is no such nodule or no finished run, a record is missing or damaged, or the package is not installed.
    """
    try:
        from prov.model import ProvDocument
    except ImportError as error:
        raise needs_extra("prov") from error
    document = ProvDocument()
    for prefix, address in NAMESPACES.items():
        document.add_namespace(prefix, address)
    if nodule_id:
        trace = trace_nodule(place, nodule_id)
        _add_records(document, place, trace.artefacts.values())
        _add_nodule(document, trace)
        return document
    records, _ = leading_to(place, most)
    _add_records(document, place, records)
    return document


def packed(document: Any, suffix: str) -> bytes:
    """Serialise a document.

    Parameters
    ----------
    document : prov.model.ProvDocument
    suffix : str
        A key of :data:`FORMATS`.

    Raises
    ------
    DatasetError
        If there is no such format.
    """
    if suffix not in FORMATS:
        raise DatasetError(f"PROV is written to {', '.join(FORMATS)}, not to {suffix or 'a file without an ending'}")
    options: dict[str, dict[str, Any]] = {".json": {"indent": 1}, ".ttl": {"rdf_format": "turtle"}}
    with warnings.catch_warnings():
        # rdflib 7.6 calls its own deprecated property when it writes Turtle.
        warnings.filterwarnings("ignore", "Dataset.default_context is deprecated", DeprecationWarning)
        text: str = document.serialize(format=FORMATS[suffix], **options.get(suffix, {}))
    return text.encode()


def _add_records(document: Any, place: Place, records: Iterable[Record]) -> None:
    makers: dict[str, None] = {}
    for entry in records:
        _add_artefact(document, entry)
        makers.update(dict.fromkeys(entry.made_by.split(BETWEEN)))
    for ref in makers:
        _add_environment(document, load(place, ref))


def _add_artefact(document: Any, entry: Record) -> None:
    ended = datetime.fromtimestamp(entry.made_at_s, UTC)
    name, making = f"artefact:{_local(entry.ref)}", f"making:{_local(entry.ref)}"
    says: list[tuple[str, Any]] = [("prov:label", entry.kind), ("lungpipe:kind", entry.kind)]
    says += [(f"lungpipe:{key}", str(value)) for key, value in sorted(entry.subject.items())]
    if entry.scope == SUMMED:
        says += [(f"lungpipe:{key}", value) for key, value in entry.inputs.items()]
    says += [("lungpipe:output", f"{path} sha256:{digest}") for path, digest in sorted(entry.outputs.items())]
    says += [("lungpipe:failure", entry.failed["code"])] if entry.failed else []
    (document.collection if entry.scope == SUMMED else document.entity)(name, says)
    versions = [("lungpipe:version", f"{stage} {version}") for stage, version in sorted(entry.versions.items())]
    settings = [("lungpipe:settings", json.dumps(entry.settings, sort_keys=True))] if entry.settings else []
    document.activity(making, None, ended, [("prov:label", f"making of {entry.kind}"), *settings, *versions])
    document.wasGeneratedBy(name, making, ended)
    for maker in entry.made_by.split(BETWEEN):
        document.wasAssociatedWith(making, _environment(maker))
    sources = [f"artefact:{_local(ref)}" for ref in entry.made_from]
    if entry.kind == "volume" and "series_uid" in entry.subject:
        sources.append(_add_series(document, entry))
    for source in sources:
        document.used(making, source)
        document.wasDerivedFrom(name, source, making)


def _add_series(document: Any, volume: Record) -> str:
    name = f"series:{_local(volume.subject['series_uid'])}"
    says = {
        "prov:label": "series",
        "lungpipe:instances": len(volume.inputs.get("instances", ())),
        "lungpipe:source_sha256": volume.inputs.get("source_sha256", ""),
    }
    document.collection(name, says)
    return name


def _add_nodule(document: Any, trace: Trace) -> None:
    """The rows of a nodule, and the SOP instances of its scan."""
    name = f"nodule:{_local(trace.nodule_id)}"
    says = [("prov:label", "rows of a nodule"), ("lungpipe:dataset", trace.dataset)]
    says += [("lungpipe:mask", f"{row['segmenter']} {row['mask_id']}") for row in trace.rows]
    document.entity(name, says)
    for row in trace.rows:
        for ref in filter(None, (row["features"], row["mask"])):
            document.wasDerivedFrom(name, f"artefact:{_local(ref)}")
    for uid in trace.instances:
        document.entity(f"instance:{_local(uid)}", {"prov:label": "SOP instance"})
        document.hadMember(f"series:{_local(trace.series_uid)}", f"instance:{_local(uid)}")


def _add_environment(document: Any, entry: Record) -> None:
    found = entry.settings
    says = [("prov:type", "prov:SoftwareAgent"), ("prov:label", f"lungpipe {found.get('lungpipe', '')}".strip())]
    says += [(f"lungpipe:{key}", found[key]) for key in ("code_sha256", "python", "platform") if key in found]
    says += [("lungpipe:package", f"{name} {version}") for name, version in sorted(found.get("packages", {}).items())]
    document.agent(_environment(entry.ref), [(key, _typed(document, key, value)) for key, value in says])


def _typed(document: Any, key: str, value: Any) -> Any:
    return document.valid_qualified_name(value) if key == "prov:type" else value


def _environment(ref: str) -> str:
    return f"environment:{_local(ref.split('/')[1])}"


def _local(text: str) -> str:
    """A reference as the local part of a qualified name: what PROV-N would have to escape becomes ``_``."""
    return re.sub(r"[^A-Za-z0-9/._-]", "_", text)
