"""One CT image without what identifies: the Basic Application Level Confidentiality Profile of DICOM PS3.15 annex E.

dicom-anonymizer brings table E.1-1 and the dummy values. Sequences, UIDs, dates, private and unknown attributes are
treated here, because the library leaves sequences as they are, draws UIDs at random and replaces dates that the table removes.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from dicomanonymizer.simpledicomanonymizer import initialize_actions, replace_element
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

from lungpipe.errors import CaseError

if TYPE_CHECKING:
    from lungpipe.dicom.pseudonymise import Pseudonymiser

Action = Literal["removed", "emptied", "replaced", "uid_remapped", "kept", "added"]

#: Edition of PS3.15 whose table E.1-1 is applied.
EDITION = "2026c"
#: What every copy says of itself, beside PatientIdentityRemoved (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1).
METHOD = (
    f"DICOM PS3.15 {EDITION} Basic Profile",
    f"dicom-anonymizer {metadata.version('dicom-anonymizer')}",
    "lungpipe",
)
METHOD_CODE = ("113100", "DCM", "Basic Application Confidentiality Profile")
TIMES = "REMOVED"

#: Attributes of text or bytes that stay: CT images must have them, or features depend on them; table E.1-1 names none.
#: Any other attribute that can hold free text is removed, also where the table is silent.
KEPT_TEXT = frozenset((
    "AlgorithmName", "AlgorithmVersion", "CodeMeaning", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
    "ConvolutionKernel", "FilterType", "ImageFilter", "LongCodeValue", "LUTExplanation", "LUTLabel", "Manufacturer",
    "ManufacturerModelName", "PositionReferenceIndicator", "RescaleType", "SoftwareVersions", "StackID",
))  # fmt: skip
KEPT_BYTES = frozenset(("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "LUTData", "PixelData"))

_ENHANCED = {EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
_FREE = frozenset((
    "AE", "AS", "DA", "DT", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN", "SH", "ST", "TM", "UC", "UN", "UR", "UT",
))  # fmt: skip
_DATES = {"DA", "DT", "TM"}
_ADDED = frozenset((
    "DeidentificationMethod", "DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified",
    "PatientIdentityRemoved",
))  # fmt: skip
_NUMBER = re.compile(r"[0-9+\-.eE\\ \0]*")


class ExportError(CaseError):
    """A series cannot be copied without identity."""

    stage = "export"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """What was done to one attribute; no value is kept.

    Parameters
    ----------
    path : str
        Keywords of the sequences around it, joined by ``/``; empty at the top level, ``"file meta"`` there.
    tag : str
        ``"(gggg,eeee)"``.
    keyword : str
        Empty for private and unknown attributes.
    action : str
        ``"removed"``, ``"emptied"``, ``"replaced"``, ``"uid_remapped"``, ``"kept"`` or ``"added"``.
    """

    path: str
    tag: str
    keyword: str
    action: Action


@dataclass(frozen=True, slots=True)
class _Run:
    pseudonym: Pseudonymiser
    patient: str
    enhanced: bool
    changes: Counter[Change] = field(default_factory=Counter)

    def note(self, path: str, tag: BaseTag, action: Action) -> None:
        keyword = keyword_for_tag(tag) if dictionary_has_tag(tag) else ""
        self.changes[Change(path, f"({tag.group:04X},{tag.element:04X})", keyword, action)] += 1


def deidentify(dataset: Dataset, pseudonym: Pseudonymiser, patient: str) -> Counter[Change]:
    """Take out of a CT image, in place, whatever may identify.

    Parameters
    ----------
    dataset : Dataset
        As ``dcmread`` gives it. Its preamble is zeroed and its file meta information written anew. Pixel data and the
        transfer syntax stay.
    pseudonym : Pseudonymiser
        Its key decides the new UIDs.
    patient : str
        What PatientID and PatientName become.

    Returns
    -------
    Counter of Change
        How often each attribute was treated in each way.

    Raises
    ------
    ExportError
        If the image is no CT image, shows burned-in text or overlays within its pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        _refuse(dataset)
        run = _Run(pseudonym, patient, dataset.SOPClassUID in _ENHANCED)
        _clean(dataset, "", run)
        _declare(dataset, run)
        _renew_file(dataset, run)
    return run.changes


def _refuse(dataset: Dataset) -> None:
    if dataset.get("SOPClassUID") not in {CTImageStorage, *_ENHANCED}:
        raise ExportError(
            "not_ct_image", "a file is no CT image; what else it may hold is not known: leave the series out"
        )
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise ExportError(
            "burned_in_annotation", "a file says that text is burned into its pixels; clean or leave out the series"
        )
    if any(tag & 0xFF01FFFF == 0x60000102 and dataset[tag].value for tag in dataset.keys()):  # noqa: SIM118  iterating converts all
        raise ExportError(
            "overlay_in_pixels", "a file keeps an overlay in unused bits of its pixels; leave out the series"
        )


def _clean(level: Dataset, path: str, run: _Run) -> None:
    for tag in list(level.keys()):
        run.note(path, tag, _treat(level, tag, path, run))


def _treat(level: Dataset, tag: BaseTag, path: str, run: _Run) -> Action:
    """Apply the profile to one attribute and say what was done."""
    # Curves and overlays (50xx, 60xx) are repeating groups, which the dictionary by tag does not hold.
    if tag.is_private or not dictionary_has_tag(tag):
        return _remove(level, tag)
    keyword, vr = keyword_for_tag(tag), dictionary_VR(tag)
    if not path and keyword in _ADDED:
        return _remove(level, tag)
    if not path and keyword in ("PatientID", "PatientName"):
        level[tag] = DataElement(tag, vr, run.patient)
        return "replaced"
    rule = _rule(tag, vr, enhanced=run.enhanced)
    if vr == "UI" and rule != "remove":
        return _remap(level, tag, run.pseudonym)
    match rule:
        case "remove":
            return _remove(level, tag)
        case "empty":
            level[tag] = DataElement(tag, vr, None)
            return "emptied"
        case "dummy":
            dummy = DataElement(tag, vr, None)
            replace_element(dummy)
            level[tag] = dummy
            return "replaced"
        case _:
            return _keep(level, tag, "/".join(part for part in (path, keyword) if part), run)


@cache
def _table() -> dict[int, str]:
    """Name of the library's action by tag; repeating groups and file meta information are treated apart."""
    actions = initialize_actions(f"dicomfields_{EDITION}")
    return {Tag(*tag): function.__name__ for tag, function in actions.items() if len(tag) == 2}


def _rule(tag: BaseTag, vr: str, *, enhanced: bool) -> str:
    """Resolve a code of table E.1-1, whose ``X/...`` codes depend on the type that the IOD gives the attribute.

    In the CT Image IOD all of them are type 3: remove. In the Enhanced CT Image IODs some are type 1 or 2: the second code.
    """
    name = _table().get(tag, "keep")
    if name in ("keep", "delete_or_empty_or_replace_UID"):
        return "keep"
    if name == "delete" or (name.startswith("delete_or") and not enhanced):
        return "remove"
    if name in ("empty", "delete_or_empty") or (name == "empty_or_replace" and vr in _DATES and not enhanced):
        return "empty"
    return "remove" if vr == "SQ" else "dummy"


def _keep(level: Dataset, tag: BaseTag, path: str, run: _Run) -> Action:
    keyword, vr = keyword_for_tag(tag), dictionary_VR(tag)
    if vr == "SQ":
        items = level[tag].value
        if not isinstance(items, Sequence):
            return _remove(level, tag)
        for item in items:
            _clean(item, path, run)
        return "kept"
    if keyword in KEPT_TEXT or keyword in KEPT_BYTES:
        return "kept"
    element = level.get_item(tag)
    own = vr if element.VR in (None, "UN") else element.VR
    if _FREE.intersection(vr.split(" or ")) or own in _FREE or own == "SQ":
        return _remove(level, tag)
    if vr in ("DS", "IS") and not _is_number(element.value):
        return _remove(level, tag)
    return "kept"


def _is_number(value: object) -> bool:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return not isinstance(text, str) or _NUMBER.fullmatch(text) is not None


def _remove(level: Dataset, tag: BaseTag) -> Action:
    del level[tag]
    return "removed"


def _remap(level: Dataset, tag: BaseTag, pseudonym: Pseudonymiser) -> Action:
    """Replace every UID but those that PS3.6 registers (SOP classes, transfer syntaxes, well-known instances)."""
    value = level[tag].value
    old = [str(uid).strip() for uid in ([] if not value else [value] if isinstance(value, str) else value)]
    new = [uid if is_registered(uid) else pseudonym.uid(uid) for uid in old]
    if new == old:
        return "kept"
    level[tag] = DataElement(tag, "UI", new[0] if len(new) == 1 else new)
    return "uid_remapped"


def is_registered(uid: str) -> bool:
    """Whether the standard itself gave the UID its meaning."""
    return UID(uid).name != uid


def _declare(dataset: Dataset, run: _Run) -> None:
    added = set(_ADDED)
    for keyword in ("PatientID", "PatientName"):  # type 2: each file has them
        if keyword not in dataset:
            setattr(dataset, keyword, run.patient)
            added.add(keyword)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = list(METHOD)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = METHOD_CODE
    dataset.DeidentificationMethodCodeSequence = Sequence([code])
    dataset.LongitudinalTemporalInformationModified = TIMES
    for keyword in added:
        run.note("", Tag(keyword), "added")


def _renew_file(dataset: Dataset, run: _Run) -> None:
    """Write the preamble and the file meta information anew (PS3.10 7.1), and keep the transfer syntax alone."""
    old = getattr(dataset, "file_meta", None) or FileMetaDataset()
    new = FileMetaDataset()
    new.MediaStorageSOPClassUID = dataset.SOPClassUID
    new.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    new.TransferSyntaxUID = old.get("TransferSyntaxUID") or _syntax(dataset)
    for tag in old:
        key = tag.tag
        kept = key in new and old[key].value == new[key].value
        run.note("file meta", key, "kept" if kept else "uid_remapped" if key in new else "removed")
    dataset.file_meta = new
    dataset.preamble = b"\0" * 128


def _syntax(dataset: Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian
