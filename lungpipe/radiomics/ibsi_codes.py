"""What each PyRadiomics feature is by the names and codes of the Image Biomarker Standardisation Initiative (IBSI).

Codes are those of the IBSI reference manual (Zwanenburg et al., arXiv:1612.07003; Radiology 2020;295:328-338), units and
deviations those of PyRadiomics 3.1 under its default parameters. The list itself is ``ibsi_codes.toml``.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

#: IBSI's codes for how a matrix's features are aggregated, where PyRadiomics' defaults have a choice.
AGGREGATIONS: Mapping[str, str] = {
    "": "no matrix",
    "ITBB": "3D, averaged: features of each direction's matrix, then their mean",
    "KOBO": "3D: one matrix for the whole region",
}
#: What holds for every feature marked ``numbered``.
NUMBERING = (
    "PyRadiomics numbers grey levels from the lowest bin in the region, whose edge is a multiple of the bin width; IBSI "
    "numbers them from the lower end of the re-segmentation range, where there is one. The value follows the number."
)

#: Image types of PyRadiomics: pattern of the name, unit of the intensities, and what they are.
_IMAGES = (
    (r"original", "HU", ""),
    (r"wavelet[0-9]*-[LH]{2,3}", "HU", "of wavelet coefficients; the code is the feature's, the filter has to be named beside it"),
    (r"log-sigma-[0-9-]+-mm-[23]D", "HU", "of the Laplacian of a Gaussian, normalised across scale; name the filter beside the code"),
    (r"gradient", "HU/mm", "of the gradient's magnitude; name the filter beside the code"),
    (r"square|squareroot|logarithm|exponential", "HU", "of a function of the HU, scaled to the range of the image and not linear in HU"),
    (r"ibsi-(mean|log|laws|gabor|wavelet|simoncelli)-[A-Za-z0-9-]+", "HU", "of the response of an IBSI-2 filter, which the prefix names"),
    (r"lbp-2D|lbp-3D-(m[0-9]+|k)", "1", "of local binary patterns, which have no unit"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Feature:
    """A PyRadiomics feature.

    Parameters
    ----------
    name : str
        As in the feature table, ``<image type>_<class>_<feature>``.
    unit : str
        ``"1"`` without dimension, ``"bit"`` for entropies.
    ibsi_name, ibsi_code : str
        Empty where IBSI has no such feature.
    family, family_code : str
        IBSI's feature family.
    aggregation : str
        A key of :data:`AGGREGATIONS`.
    matrix : str
        How PyRadiomics makes the matrix by default; empty without one.
    differs : str
        How the value differs from IBSI's; empty where it is the same.
    numbered : bool
        Whether the value depends on which grey level is number 1; see :data:`NUMBERING`.
    note : str
    """

    name: str
    unit: str
    ibsi_name: str
    ibsi_code: str
    family: str
    family_code: str
    aggregation: str
    matrix: str = ""
    differs: str = ""
    numbered: bool = False
    note: str = ""

    @property
    def definition(self) -> Literal["same", "differs", "not in IBSI"]:
        """How the definition stands to IBSI's."""
        if not self.ibsi_code:
            return "not in IBSI"
        return "differs" if self.differs else "same"


@cache
def original_features() -> Mapping[str, Feature]:
    """Every feature of the original image, by name, in PyRadiomics' order of classes."""
    text = (resources.files("lungpipe.radiomics") / "ibsi_codes.toml").read_text(encoding="utf-8")
    found = {}
    for kind, family in tomllib.loads(text).items():
        for feature, entry in family["features"].items():
            name = f"original_{kind}_{feature}"
            found[name] = Feature(
                name=name,
                unit=entry.get("unit", "1"),
                ibsi_name=entry.get("name", ""),
                ibsi_code=entry.get("code", ""),
                family=entry.get("family", family["family"]),
                family_code=entry.get("family_code", family["code"]),
                aggregation=family["aggregation"],
                matrix=family["matrix"],
                differs=entry.get("differs", ""),
                numbered=entry.get("numbered", False),
                note=entry.get("note", ""),
            )
    return found


def describe(name: str) -> Feature | None:
    """Describe a feature by the name of its column.

    Parameters
    ----------
    name : str
        ``original_glcm_Contrast``, ``wavelet-LLH_glcm_Contrast``, ``log-sigma-3-0-mm-3D_firstorder_Mean`` and the like.

    Returns
    -------
    Feature or None
        For a filtered image with the unit of its intensities; None for a name that PyRadiomics does not use.
    """
    image, _, rest = name.partition("_")
    known = original_features().get(f"original_{rest}")
    if known is None or image == "original":
        return known
    if rest.startswith("shape_"):  # shape has no filtered image
        return None
    for pattern, unit, said in _IMAGES:
        if re.fullmatch(pattern, image):
            note = f"{known.note}; {said}" if known.note else said
            return replace(known, name=name, unit=_on(known.unit, unit), note=note)
    return None


def _on(unit: str, intensity: str) -> str:
    """A unit that was given for HU, for intensities of another unit."""
    if intensity == "1":
        return " ".join(part for part in unit.split() if not part.startswith("HU")) or "1"
    bracketed = f"({intensity})" if "/" in intensity else intensity
    return unit.replace("HU^2", f"{bracketed}^2") if "HU^2" in unit else unit.replace("HU", intensity)
