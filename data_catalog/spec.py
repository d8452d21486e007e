"""What the catalog says about a data set, and the seam of the annotation readers."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from lungpipe import plugins
from lungpipe.errors import DatasetError, Exclusion

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lungpipe.dicom.series import SeriesTable
    from lungpipe.nodule import Nodule


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainedModel(_Part):
    """A public model that has seen the data set, and where that is said."""

    name: str
    source: str


class Counts(_Part):
    """Published numbers; None where none is published or it could not be confirmed."""

    patients: int | None = None
    scans: int | None = None
    nodules: int | None = None


class DatasetSpec(_Part):
    """One data set: where it comes from, what is in it, and how its annotations are read.

    Parameters
    ----------
    name, title, licence, citation : str
    doi : str
        Of the data, or of the article that describes them; empty where there is none.
    obtain : str
        Where the data are, by name; nothing is ever downloaded.
    counts : Counts
    reader : str
        Annotation adapter, a plug-in of the group ``lungpipe.annotations``.
    needs_annotations : bool
        Whether a recipe must name an annotation file or folder.
    intensities : {"measured", "simulated", "none"}
        None where the data set is outlines without images: a recipe then names no image folder.
    frame : {"lps", "ras", "voxel"}
        Of the annotations, unless a row says otherwise.
    columns : dict
        Generic name of each column of a nodule table (``data_catalog.adapters.table.COLUMNS``) to the data set's own.
    patients : {"table", "headers", "lidc-idri"}
        Where a nodule table without patients has them from: DICOM headers (file names, of volume files), or the patients of
        LIDC-IDRI by series UID, so that two scans of one patient are never two patients.
    rois : str
        Regular expression that the names of ROIs or segments match, for the reader ``structures``.
    malignant : {0, 1}, optional
        Label of every nodule, where all are of one kind.
    label, split : str
        What the label means; how the data set is divided.
    same_patients : tuple of str
        Data sets of the catalog that hold some of the same patients.
    pitfalls : tuple of str
    trained_on_it : tuple of TrainedModel
    """

    name: str
    title: str
    licence: str
    citation: str
    obtain: str
    reader: str
    label: str
    split: str
    doi: str = ""
    counts: Counts = Counts()
    needs_annotations: bool = True
    intensities: Literal["measured", "simulated", "none"] = "measured"
    frame: Literal["lps", "ras", "voxel"] = "lps"
    columns: dict[str, str] = {}
    patients: Literal["table", "headers", "lidc-idri"] = "table"
    rois: str = ""
    malignant: Literal[0, 1] | None = None
    same_patients: tuple[str, ...] = ()
    pitfalls: tuple[str, ...] = ()
    trained_on_it: tuple[TrainedModel, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a reader found: nodules, and rows that it could not use (identifiers as in the file)."""

    nodules: tuple[Nodule, ...]
    exclusions: tuple[Exclusion, ...] = ()


class AnnotationReader(Protocol):
    """A plug-in of the group ``lungpipe.annotations``."""

    def __call__(self, spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
        """Read the nodules of the indexed series.

        Parameters
        ----------
        spec : DatasetSpec
        path : Path or None
            The annotation file or folder that the recipe names.
        series : SeriesTable
            For frames that need a grid, and to tell which series exist.

        Raises
        ------
        DatasetError
            If the file is missing or has another format.
        """
        ...


def list_datasets() -> list[str]:
    """Names in the catalog."""
    folder = resources.files("data_catalog") / "datasets"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_dataset(name: str) -> DatasetSpec:
    """Read one entry of the catalog.

    Raises
    ------
    DatasetError
        If there is no such entry; the message lists those that are.
    """
    known = list_datasets()
    if name not in known:
        raise DatasetError(f"no data set {name!r} in the catalog; there are: {', '.join(known)}")
    text = (resources.files("data_catalog") / "datasets" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_dataset(text, f"{name}.toml")


def parse_dataset(text: str, shown: str) -> DatasetSpec:
    """Read one entry from TOML.

    Raises
    ------
    DatasetError
        If it is no TOML, or a key is unknown, missing or wrong; ``shown`` names the file.
    """
    try:
        return DatasetSpec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DatasetError(f"{shown} is not TOML: {error}") from error
    except ValidationError as error:
        raise DatasetError(f"{shown}: " + "; ".join(_explain(item) for item in error.errors())) from error


def _explain(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{where} is missing"
    if item["type"] != "extra_forbidden":
        return f"{where}: {item['msg']} (found {item['input']!r})"
    near = difflib.get_close_matches(str(item["loc"][-1]), DatasetSpec.model_fields, n=1)
    return f"unknown key {where!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def contamination(spec: DatasetSpec, models: Iterable[str]) -> list[str]:
    """Say which models have seen a data set, or one that shares patients with it: their figures on it are no test.

    Parameters
    ----------
    spec : DatasetSpec
    models : iterable of str
        Names, compared without regard to case.
    """
    wanted = {name.casefold() for name in models}
    found = []
    for one in (spec, *(load_dataset(name) for name in spec.same_patients)):
        through = "" if one.name == spec.name else f", which shares patients with {spec.name}"
        found += [
            f"{model.name} was trained on {one.name}{through} ({model.source})"
            for model in one.trained_on_it
            if model.name.casefold() in wanted
        ]
    return found


def shared_patients(spec: DatasetSpec, other: DatasetSpec) -> str:
    """Say why a test of what was learned from one data set on another may be none; empty where nothing is known against it.

    Parameters
    ----------
    spec, other : DatasetSpec
        What taught, and what tests.
    """
    if spec.name == other.name:
        if spec.licence == "yours":
            return ""
        return (
            f"both are parts of {spec.name}: hospitals, scanners and readers are the same on both sides, so this is no test "
            "on another population"
        )
    common = {spec.name, *spec.same_patients} & {other.name, *other.same_patients}
    if not common:
        return ""
    if common <= {spec.name, other.name}:
        return f"{spec.name} and {other.name} hold some of the same patients"
    through = ", ".join(sorted(common - {spec.name, other.name}))
    return f"{spec.name} and {other.name} may hold some of the same patients: both share some with {through}"


def shortfall(spec: DatasetSpec, scans: int, nodules: int) -> str:
    """Compare what was found with what is published; empty where it is all there, or nothing is published."""
    pairs = (("scans", scans, spec.counts.scans), ("nodules", nodules, spec.counts.nodules))
    less = [f"{found:,} of {expected:,} {name}" for name, found, expected in pairs if expected and found < expected]
    return f"{spec.name}: found {' and '.join(less)} that are published" if less else ""


def read_annotations(spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
    """Read the annotations of a data set with the reader that its entry names.

    Raises
    ------
    DatasetError
        If the entry needs an annotation file and ``path`` is None or missing, or the file does not fit.
    """
    if spec.needs_annotations and path is None:
        raise DatasetError(f"data set {spec.name!r} needs cohort.annotations: the path of its annotations")
    if path is not None and not path.exists():
        raise DatasetError(f"no annotations at {path}; set cohort.annotations to the file or folder of {spec.title}")
    reader: AnnotationReader = plugins.find("annotations", spec.reader)
    return reader(spec, path, series)
