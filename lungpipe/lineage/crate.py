"""A run as an RO-Crate: its tables, pages and record in one folder that describes itself.

RO-Crate Metadata Specification 1.1 with the Process Run Crate profile 0.5 of Workflow Run RO-Crate (Leo et al., PLoS ONE
2024, doi:10.1371/journal.pone.0309210).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.lineage.about import about_run, licence_address, needs_extra
from lungpipe.store.tables import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lungpipe.lineage.about import About, Source
    from lungpipe.store.place import Place

VERSION, PROFILE = "1.1", "https://w3id.org/ro/wfrun/process/0.5"
#: Terms that the context of RO-Crate 1.1 does not have.
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
MEDIA_TYPES = {".json": "application/json", ".parquet": "application/vnd.apache.parquet", ".html": "text/html"}
RECIPE, VOLUMES = "recipe.json", "volumes/"


def write_crate(place: Place, out: Path, source: Source, *, with_volumes: bool = False) -> None:
    """Write a run as an RO-Crate, whole or not at all.

    Parameters
    ----------
    place : Place
        The workspace.
    out : Path
        Folder to make; there must be none of that name.
    source : Source
        The data set, for licence and citation.
    with_volumes : bool
        Whether the volumes and masks are copied too; otherwise they are described.

    Raises
    ------
    DatasetError
        If the folder is there already, the workspace has no finished run, or the package is not installed.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        raise needs_extra("rocrate") from error
    if out.exists():
        raise DatasetError(f"{out} is there already; name a new folder for the crate")
    about = about_run(place)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    pieces = unfinished.with_name(f"{unfinished.name}.pieces")
    pieces.mkdir(parents=True)
    try:
        crate = ROCrate(version=VERSION)
        crate.metadata.extra_terms.update(TERMS)
        _describe_root(crate, about, source)
        files = [_add_file(crate, place, name, pieces) for name in _files(place)]
        files += _add_recipe(crate, about, pieces)
        volumes = _add_volumes(crate, place, pieces, copied=with_volumes)
        _describe_run(crate, about, source, files, volumes)
        crate.write(unfinished)
        ROCrate(unfinished)  # the library's own check: descriptor, root, and an entity for each part
        unfinished.rename(out)
    finally:
        for folder in (unfinished, pieces):
            shutil.rmtree(folder, ignore_errors=True)


def _files(place: Place) -> Iterator[str]:
    yield "run.json"
    yield from (f"tables/{name}.parquet" for name in SCHEMAS if place.exists(f"tables/{name}.parquet"))
    yield from place.files("report")


def _describe_root(crate: Any, about: About, source: Source) -> None:
    crate.name, crate.description = about.title, about.description
    crate.datePublished = about.made_at.isoformat()
    crate.root_dataset["conformsTo"] = crate.add_jsonld(
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    )
    crate.license = _licence(crate, source)


def _licence(crate: Any, source: Source) -> Any:
    """The licence of the data set holds for what was made from it too."""
    address = licence_address(source.licence)
    says = {"@id": address or "#licence", "@type": "CreativeWork", "name": source.licence}
    says["description"] = f"Licence of the data set {source.title}"
    return crate.add_jsonld(says | ({"url": address} if address else {}))


def _local(place: Place, name: str, pieces: Path) -> Path:
    """A file of the workspace on this machine."""
    if place.local is not None:
        return place.path(name)
    copy = pieces / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(place.read(name))
    return copy


def _add_file(crate: Any, place: Place, name: str, pieces: Path) -> Any:
    path = PurePosixPath(name)
    says = {"name": name, "sha256": place.digest(name), "contentSize": str(place.size(name))}
    says["encodingFormat"] = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    if path.suffix == ".parquet":
        says["description"] = f"A row is: {SCHEMAS[path.stem].meaning[:1].lower()}{SCHEMAS[path.stem].meaning[1:]}"
    return crate.add_file(_local(place, name, pieces), dest_path=name, properties=says)


def _add_recipe(crate: Any, about: About, pieces: Path) -> list[Any]:
    if not about.recipe:
        return []
    content = (json.dumps(about.recipe, indent=1, sort_keys=True) + "\n").encode()
    path = pieces / RECIPE
    path.write_bytes(content)
    says = {"name": RECIPE, "sha256": hashlib.sha256(content).hexdigest(), "contentSize": str(len(content))}
    says |= {"encodingFormat": MEDIA_TYPES[".json"], "description": "Settings of the run, without paths"}
    return [crate.add_file(path, dest_path=RECIPE, properties=says)]


def _add_volumes(crate: Any, place: Place, pieces: Path, *, copied: bool) -> Any | None:
    names = place.files("volumes")
    if not names:
        return None
    count = len(place.children("volumes"))
    says = {
        "name": "volumes",
        "description": f"{count} CT volumes as zarr v3 groups, int16 HU, with lung and nodule masks beside them",
        "encodingFormat": "application/vnd.zarr",
    }
    if not copied:
        says["description"] += "; not part of this crate"
        return crate.add_jsonld({"@id": "#volumes", "@type": "Dataset", **says})
    for name in names if place.local is None else ():
        _local(place, name, pieces)
    folder = place.path("volumes") if place.local is not None else pieces / "volumes"
    return crate.add_dataset(folder, dest_path=VOLUMES, properties=says)


def _describe_run(crate: Any, about: About, source: Source, files: list[Any], volumes: Any | None) -> None:
    """The run as one action: the data set went in, the files came out, lungpipe was the instrument."""
    packages = [
        crate.add_jsonld(_software(name, version))
        for name, version in sorted(about.environment.get("packages", {}).items())
        if name != "lungpipe" and version != "not installed"
    ]
    python = crate.add_jsonld(_software("python", about.environment["python"], "generic"))
    lungpipe = crate.add_jsonld(_software("lungpipe", about.environment["lungpipe"]))
    lungpipe["softwareRequirements"] = [python, *packages]
    lungpipe["description"] = f"SHA-256 over its code: {about.environment['code_sha256']}"
    data_set: dict[str, Any] = {"@id": "#data-set", "@type": "Dataset", "name": source.title, "identifier": source.name}
    data_set |= {
        "license": {"@id": crate.license.id},
        "description": f"The data set {source.name}; not part of this crate",
    }
    data_set |= {"citation": source.citation} if source.citation != "none" else {}
    inputs = [crate.add_jsonld(data_set), *(one for one in files if one.id == RECIPE)]
    crate.root_dataset["mentions"] = crate.add_action(
        lungpipe,
        identifier="#run",
        object=inputs if len(inputs) > 1 else inputs[0],
        result=[one for one in files if one.id != RECIPE] + ([volumes] if volumes is not None else []),
        properties={
            "@type": "CreateAction",
            "name": f"Run of the recipe: {about.title}",
            "endTime": about.made_at.isoformat(),
            "actionStatus": "http://schema.org/CompletedActionStatus",
            "description": about.description,
        },
    )


def _software(name: str, version: str, kind: str = "pypi") -> dict[str, str]:
    """A package, named by its package URL."""
    address = f"pkg:{kind}/{name}@{version}"
    return {"@id": address, "@type": "SoftwareApplication", "name": name, "softwareVersion": version, "url": address}
