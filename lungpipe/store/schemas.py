"""The tables of a workspace, column by column: the one place from which checks and data dictionary are made.

Identifiers are pseudonyms by the time that a row is written, so the patterns of the id columns are also a net: a real
name or UID does not have their form, and a table that holds one is refused.
"""

from __future__ import annotations

from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING

from lungpipe.dicom.codes import CODES, VERDICTS
from lungpipe.store.columns import Between, Column, Further, ListOf, Matches, OneOf, Relation, Schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.store.columns import Cells

#: Rounding that a limit of an interval may be off by.
_ROUNDING = 1e-9
_NAME = Matches(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name of letters, digits, dot, hyphen and underscore")
_SNAKE = Matches(r"[a-z][a-z0-9_]*", "a name in snake_case")
_SNAKES = Matches(r"([a-z][a-z0-9_]*(;[a-z][a-z0-9_]*)*)?", "names in snake_case joined by ;, or empty")
_HEX16 = Matches(r"[0-9a-f]{16}", "16 hex digits")
_HEX64 = Matches(r"[0-9a-f]{64}", "64 hex digits")
_NOT_NEGATIVE, _POSITIVE, _FRACTION = Between(0), Between(0, above=True), Between(0, 1)
#: Kinds of region, as in :data:`lungpipe.region.specs.Kind`.
REGIONS = ("nodule", "grown", "shell", "ring", "core", "band")
#: Those of them that have a radius.
AROUND = REGIONS[1:]
#: Regions that a benchmark is held against (:mod:`lungpipe.scan.controls`); radius 0.
CONTROLS = ("box", "shuffled", "inpainted")
#: The choice made inside the training folds, and what it is held against, in place of a segmenter.
CHOSEN, BASELINE = "chosen", "baseline"
#: What the choice is held against, by name (:mod:`lungpipe.learn.baselines`).
BASELINES = (
    "volume", "diameter", "clinical", "ratings", "nodule-only", "surroundings-only", "box-without-mask", "shuffled-voxels",
    "without-nodule", "shuffled-labels",
)  # fmt: skip
#: A region of the table of features: a kind, a control, or an embedder by the name that a recipe gives it.
_REGION = Matches(
    rf"(?!(?:{'|'.join((CHOSEN, *BASELINES))})$)[A-Za-z0-9][A-Za-z0-9._-]*",
    f"{', '.join((*REGIONS, *CONTROLS))}, or the name of an embedder",
)
#: Where HU come from; ``none`` for outlines without images.
INTENSITIES = ("measured", "simulated", "none")
#: What takes voxels from a region, by cause (:data:`lungpipe.region.expand.CAUSES`), for people.
CLIPPED_BY = {
    "edge": "the edge of the scan",
    "neighbour": "a neighbouring nodule",
    "vessel": "a large vessel or airway",
    "wall": "chest wall, mediastinum or whatever else is not the nodule's lung",
}


def _missing(cells: Cells) -> Cells:
    """Whether numbers are missing, of one row or of all."""
    return cells != cells


def _among(cells: Cells, values: Sequence[str]) -> Cells:
    """Whether texts are among the values, of one row or of all."""
    return reduce(or_, [cells == value for value in values])


def _pseudonym(letter: str, *, empty: bool = False) -> Matches:
    """Form of a pseudonym; see :mod:`lungpipe.dicom.pseudonymise`."""
    pattern, words = f"{letter}-[A-Z2-7]{{12}}", f"a pseudonym: {letter}- and 12 of A-Z, 2-7"
    return Matches(f"({pattern})?", f"{words}; or empty") if empty else Matches(pattern, words)


def _of(kind: str) -> tuple[Column, ...]:
    """Columns that say whose a row is."""
    return (
        _DATASET,
        _INTENSITIES,
        Column("patient_id", "str", "", f"Patient of the {kind}; empty where the archive names none", "P-AAAAAAAAAAA2", _pseudonym("P", empty=True)),
        Column("series_uid", "str", "", f"Series of the {kind}, or the stack of it", "S-AAAAAAAAAAA2", _pseudonym("S")),
    )  # fmt: skip


_DATASET = Column("dataset", "str", "", "Data set, by its name in the catalog", "generic", _NAME)
_INTENSITIES = Column(
    "intensities", "str", "", "Whether HU were measured, made by the phantom, or none are at hand", "measured", OneOf(INTENSITIES)
)  # fmt: skip
_NODULE_ID = Column("nodule_id", "str", "", "Annotated nodule", "N-AAAAAAAAAAA2", _pseudonym("N"))
_SEGMENTER = Column("segmenter", "str", "", "Segmenter that drew the mask, by its plug-in name", "otsu", _NAME)
_VOLUME_MM3 = Column("volume_mm3", "float64", "mm3", "Voxels times the volume of one", 552.1, _POSITIVE)
_ARTEFACT = Column("artefact", "str", "", "Ledger record that made the row", "00000000000000a1", _HEX16)


def _header(name: str, unit: str, meaning: str, example: float) -> Column:
    return Column(name, "float64", unit, f"{meaning}, as the header has it", example, nullable=True)


def _spacing(axis: str, meaning: str) -> Column:
    return Column(f"spacing_{axis}_mm", "float64", "mm", meaning, 0.7, _POSITIVE, nullable=True)


SERIES = Schema(
    "A stack of images of the archive, whether it is used or not",
    (
        *_of("images"),
        Column("study_uid", "str", "", "Study of the series", "T-AAAAAAAAAAA2", _pseudonym("T", empty=True)),
        Column("stack", "int64", "1", "Number of the stack in its series, the largest first", 1, Between(1)),
        Column("modality", "str", "", "Modality, as the header has it", "CT"),
        Column("n_slices", "int64", "1", "Slices of the stack; files where it has no grid", 120, _NOT_NEGATIVE),
        Column("rows", "int64", "1", "Rows of a slice; 0 without a grid", 512, _NOT_NEGATIVE),
        Column("columns", "int64", "1", "Columns of a slice; 0 without a grid", 512, _NOT_NEGATIVE),
        _spacing("z", "Distance of neighbouring slices along their normal; missing without a grid"),
        _spacing("y", "Distance of neighbouring rows; missing without a grid"),
        _spacing("x", "Distance of neighbouring columns; missing without a grid"),
        Column("manufacturer", "str", "", "Manufacturer, as the header has it", "Example Medical"),
        Column("model", "str", "", "Model of the scanner, as the header has it", "Example One"),
        Column("kernel", "str", "", "Convolution kernel, as the header has it", "B30f"),
        _header("kvp", "kV", "Peak tube voltage", 120.0),
        _header("tube_current_ma", "mA", "Tube current", 80.0),
        _header("slice_thickness_mm", "mm", "Nominal slice thickness", 1.0),
        _header("ctdi_vol_mgy", "mGy", "Volume CT dose index", 2.5),
        _header("exposure_mas", "mAs", "Exposure", 40.0),
        Column("transfer_syntax", "str", "", "UID of the encoding of its pixels, as the header has it", "1.2.840.10008.1.2.1"),
        Column("padding_voxels", "int64", "1", "Voxels of padding that were set to -1024 HU", 0, _NOT_NEGATIVE),
        Column("codes", "str", "", "Quality codes", "oblique;lung_not_covered", ListOf(tuple(CODES), "quality codes")),
        Column("detail", "str", "", "What a code leaves open, such as the name of a missing decoder", ""),
        Column("verdict", "str", "", "What becomes of the series", "warn", OneOf(VERDICTS)),
        Column("volume_id", "str", "", "Ledger record of its volume, volumes/ID.zarr; empty without one", "00000000000000b2", Matches(r"([0-9a-f]{16})?", "16 hex digits, or empty")),
    ),
    ("dataset", "patient_id", "series_uid"),
)  # fmt: skip

EXCLUSIONS = Schema(
    "Something that was left out, and why",
    (
        Column("stage", "str", "", "Stage that left it out", "segment", _SNAKE),
        _INTENSITIES,
        Column("patient_id", "str", "", "Patient, where known", "P-AAAAAAAAAAA2", _pseudonym("P", empty=True)),
        Column("series_uid", "str", "", "Series, where known", "S-AAAAAAAAAAA2", _pseudonym("S", empty=True)),
        Column("nodule_id", "str", "", "Nodule; empty where all of the series is left out", "N-AAAAAAAAAAA2", _pseudonym("N", empty=True)),
        Column("file", "str", "", "File that could not be read; empty otherwise", "", _pseudonym("F", empty=True)),
        Column("code", "str", "", "Reason", "no_cluster", _SNAKE),
        Column("message", "str", "", "What was expected, what was found, what to do", "an example"),
    ),
    (),
)  # fmt: skip

#: What of a nodule only its images tell.
_OF_IMAGES = ["x_mm", "y_mm", "mean_hu", "median_hu", "calcified_fraction", "soft_rim_fraction"]


def _told_by_images(t: Cells) -> Cells:
    without, missing = t["intensities"] == "none", [_missing(t[name]) for name in _OF_IMAGES]
    return (reduce(and_, missing) == without) & (reduce(or_, missing) == without) & ((t["volume_id"] == "") == without)


NODULES = Schema(
    "A nodule as one segmenter drew it",
    (
        *_of("nodule"),
        _NODULE_ID,
        _SEGMENTER,
        Column("malignant", "Int64", "1", "Label: 1 malignant, 0 benign; missing if unlabelled", 1, OneOf((0, 1)), nullable=True),
        Column("split", "str", "", "Part of the data set's published split; empty without one", "", OneOf(("", "train", "validation", "test"))),
        Column("x_mm", "float64", "mm", "Centre of the mask, LPS x (to the patient's left); missing without images", -86.6, nullable=True),
        Column("y_mm", "float64", "mm", "Centre of the mask, LPS y (to the patient's back); missing without images", -54.8, nullable=True),
        Column("z_mm", "float64", "mm", "Centre of the mask, LPS z (to the patient's head)", -147.1),
        Column("n_voxels", "int64", "1", "Voxels of the mask on the grid of the scan", 799, Between(1)),
        _VOLUME_MM3,
        Column("sphere_diameter_mm", "float64", "mm", "Diameter of the sphere of that volume", 10.2, _POSITIVE),
        Column("mean_hu", "float64", "HU", "Mean of the voxels of the mask; missing without images", -154.7, nullable=True),
        Column("axial_long_mm", "float64", "mm", "Longest diameter within one slice", 12.1, _POSITIVE),
        Column("axial_short_mm", "float64", "mm", "Longest chord perpendicular to it in that slice", 9.0, _POSITIVE),
        Column("axial_mean_mm", "float64", "mm", "Mean of the two", 10.5, _POSITIVE),
        Column("diameter_3d_mm", "float64", "mm", "Longest distance within the mask", 13.0, _POSITIVE),
        Column("size_class", "str", "", "Lung-RADS category that the mean diameter gives a solid nodule", "4A", OneOf(("2", "3", "4A", "4B"))),
        Column("n_slices", "int64", "1", "Slices that the mask reaches", 9, Between(1)),
        Column("n_components", "int64", "1", "Face-connected components of the mask", 1, Between(1)),
        Column("centre_inside", "int64", "1", "1 if the annotated centre is inside the mask, else 0", 1, OneOf((0, 1))),
        Column("at_edge", "int64", "1", "1 if the mask touches an edge of the image, else 0", 0, OneOf((0, 1))),
        Column("box_excess_mm", "float64", "mm", "How far the mask reaches beyond the annotated box; missing without a box", 0.0, _NOT_NEGATIVE, nullable=True),
        Column("outside_fraction", "float64", "1", "Part of the mask outside the annotated box; missing without a box", 0.0, _FRACTION, nullable=True),
        Column("box_fraction", "float64", "1", "Part of the annotated box that the mask fills; missing without a box", 0.5, _FRACTION, nullable=True),
        Column("thickness_ratio", "float64", "1", "Largest ball inside the mask over the ball of its volume, by radius", 0.8, _NOT_NEGATIVE),
        Column("median_hu", "float64", "HU", "Median of the voxels of the mask; missing without images", -120.0, nullable=True),
        Column("calcified_fraction", "float64", "1", "Part of the mask above 200 HU; missing without images", 0.0, _FRACTION, nullable=True),
        Column("soft_rim_fraction", "float64", "1", "Part of what lies 1 to 3 mm outside the mask that is above -400 HU; missing without images", 0.1, _FRACTION, nullable=True),
        Column("disagreement", "float64", "1", "1 - mean Dice with the other methods' masks; missing without others", 0.1, _FRACTION, nullable=True),
        Column("verdict", "str", "", "What the codes come to under the recipe", "accept", OneOf(("accept", "warn", "exclude"))),
        Column("codes", "str", "", "What needs a look about the annotation's outlines and the mask", "", _SNAKES),
        Column("mask_id", "str", "", "Content of the mask: voxels and place", "00000000000000c3", _HEX16),
        _ARTEFACT,
        Column("volume_id", "str", "", "Ledger record of its volume, volumes/ID.zarr; empty without images", "00000000000000b2", Matches(r"([0-9a-f]{16})?", "16 hex digits, or empty")),
        Column("source_sha256", "str", "", "SHA-256 over the contents of the files of the series, or of its outlines without images", "0" * 64, _HEX64),
        Column("voxels_sha256", "str", "", "SHA-256 over the HU of the scan (int16, little-endian, z y x), which the same image under another name has too; empty without images", "0" * 64, Matches(r"([0-9a-f]{64})?", "64 hex digits, or empty")),
    ),
    ("dataset", "patient_id", "series_uid", "nodule_id", "segmenter"),
    (Relation("what only images tell is missing without images, and only then", _told_by_images),),
    further=(
        Further("clinical_", ("float64", "str"), "a clinical column that the recipe names under `benchmark.clinical`: numbers, missing where unknown, or categories, empty where unknown"),
        Further("rating_", ("float64",), "mean rating by the radiologists, on their own scale; missing where nobody rated"),
    ),
)  # fmt: skip

AGREEMENT = Schema(
    "A mask of a nodule against those of the other methods",
    (
        *_of("nodule"),
        _NODULE_ID,
        _SEGMENTER,
        Column("disagreement", "float64", "1", "1 - mean Dice with the other methods' masks", 0.1, _FRACTION),
        _ARTEFACT,
    ),
    ("dataset", "patient_id", "series_uid", "nodule_id", "segmenter"),
)  # fmt: skip


def _adds_up(t: Cells) -> Cells:
    return abs(sum(t[f"clipped_{cause}"] for cause in CLIPPED_BY) - t["clipped_fraction"]) <= _ROUNDING


FEATURES = Schema(
    "A region of a nodule as one segmenter drew it, with its features",
    (
        *_of("nodule"),
        _NODULE_ID,
        _SEGMENTER,
        Column("region", "str", "", "The nodule; grown by the radius; that without the nodule (shell), or only beyond inner_mm (ring); what lies that deep inside (core); what lies that near the surface (band); controls of a benchmark: the nodule's bounding box, the nodule with its voxels shuffled, and its mask where it was taken out; or an embedder by its name in the recipe", "shell", _REGION),
        Column("radius_mm", "float64", "mm", "Distance from the nodule's surface; 0 for the nodule itself", 8.0, _NOT_NEGATIVE),
        Column("inner_mm", "float64", "mm", "Where a ring begins; 0 for other regions", 0.0, _NOT_NEGATIVE),
        Column("n_voxels", "int64", "1", "Voxels of the region on the grid of the scan, after clipping", 4712, Between(1)),
        _VOLUME_MM3,
        Column("clipped_fraction", "float64", "1", "Part of the region's voxels that clipping took", 0.25, _FRACTION),
        *(
            Column(f"clipped_{cause}", "float64", "1", f"Part of the region's voxels that {taker} took", 0.25 if cause == "wall" else 0.0, _FRACTION)
            for cause, taker in CLIPPED_BY.items()
        ),
        Column("volume_error", "float64", "1", "Relative error of the volume before clipping to be reckoned with at such slices (docs/regions.md); missing where none was measured", 0.02, _NOT_NEGATIVE, nullable=True),
        Column("codes", "str", "", "What needs a look about the region and its features (docs/regions.md, docs/radiomics.md)", "", _SNAKES),
        Column("mask_id", "str", "", "Content of the region: voxels and place", "00000000000000d4", _HEX16),
        _ARTEFACT,
    ),
    ("dataset", "patient_id", "series_uid", "nodule_id", "segmenter", "region", "radius_mm"),
    (
        Relation("radius_mm is 0 for the nodule, controls and embedders, and for no other region", lambda t: _among(t["region"], AROUND) == (t["radius_mm"] > 0)),
        Relation("inner_mm is 0 but for rings, and less than radius_mm", lambda t: (t["inner_mm"] == 0) | ((t["region"] == "ring") & (t["inner_mm"] < t["radius_mm"]))),
        Relation("the parts that clipping took add up to clipped_fraction", _adds_up),
    ),
    open=True,
)  # fmt: skip

_CONFIGURATION = (
    Column("segmenter", "str", "", "Segmenter; 'chosen' for the choice made inside the training folds, 'baseline' for what the choice is held against", "otsu", _NAME),
    Column("region", "str", "", "Region; an embedder by its name in the recipe; 'chosen'; or the name of a baseline", "shell", _NAME),
    Column("radius_mm", "float64", "mm", "How far the region reaches; missing where it was chosen, and for baselines", 8.0, _NOT_NEGATIVE, nullable=True),
    Column("classifier", "str", "", "Classifier by its plug-in name, or 'chosen'", "logistic", _NAME),
    Column("feature_set", "str", "", "Set of features by its name in the recipe; 'chosen' for the choice made inside", "all", _NAME),
    Column("trained_on", "str", "", "Data set that everything was learned and chosen on: the row's own, by cross-validation, or another, which makes the figure one of external validation", "generic", _NAME),
)  # fmt: skip
_NO_RADIUS = Relation(
    "radius_mm is missing for 'chosen' and 'baseline' and nowhere else",
    lambda t: (
        (_among(t["segmenter"], (CHOSEN, BASELINE)) == _missing(t["radius_mm"]))
        & (_among(t["region"], (CHOSEN, *BASELINES)) == _missing(t["radius_mm"]))
    ),
)

PREDICTIONS = Schema(
    "A nodule as one configuration of the benchmark predicted it, by a model that was not trained on its patient",
    (
        *_of("nodule"),
        _NODULE_ID,
        *_CONFIGURATION,
        Column("repeat", "int64", "1", "Repeat of the cross-validation, from 0", 0, _NOT_NEGATIVE),
        Column("fold", "int64", "1", "Outer fold that tested the nodule, from 0", 3, _NOT_NEGATIVE),
        Column("y", "int64", "1", "Label: 1 malignant, 0 benign", 1, OneOf((0, 1))),
        Column("p", "float64", "1", "Predicted probability of malignancy", 0.61, _FRACTION),
    ),
    (
        "dataset",
        "patient_id",
        "series_uid",
        "nodule_id",
        "segmenter",
        "region",
        "radius_mm",
        "classifier",
        "feature_set",
        "repeat",
    ),
    (_NO_RADIUS,),
    sorted=False,
    optional=True,
)


def _figure(name: str, meaning: str, example: float) -> Column:
    return Column(name, "float64", "1", f"{meaning}; missing if undefined", example, _FRACTION, nullable=True)


def _within(low: str, high: str) -> Relation:
    return Relation(
        f"{low} <= auc <= {high}",
        lambda t: (
            reduce(or_, map(_missing, (t[low], t["auc"], t[high])))
            | ((t[low] <= t["auc"] + _ROUNDING) & (t["auc"] <= t[high] + _ROUNDING))
        ),
    )


SCORES = Schema(
    "A configuration of the benchmark and its figures over all outer folds",
    (
        _DATASET,
        _INTENSITIES,
        *_CONFIGURATION,
        Column("selection", "str", "", "Fixed beforehand, chosen inside the training folds, or a baseline", "fixed", OneOf(("fixed", "inside", "baseline"))),
        Column("chosen", "str", "", "For 'inside': JSON list, the configuration that each outer fold chose", ""),
        Column("n", "int64", "1", "Nodules", 46, _NOT_NEGATIVE),
        Column("n_patients", "int64", "1", "Patients", 40, _NOT_NEGATIVE),
        Column("n_malignant", "int64", "1", "Malignant nodules", 23, _NOT_NEGATIVE),
        _figure("auc", "Area under the ROC curve", 0.8),
        _figure("auc_low", "Lower 95 % limit for a configuration named beforehand", 0.7),
        _figure("auc_high", "Upper 95 % limit for a configuration named beforehand", 0.9),
        _figure("auc_low_all", "Lower 95 % limit that holds for all configurations at once", 0.6),
        _figure("auc_high_all", "Upper 95 % limit that holds for all configurations at once", 0.95),
        _figure("average_precision", "Average precision", 0.8),
        _figure("brier", "Brier score: mean squared error of the probabilities", 0.2),
        _figure("balanced_accuracy", "Mean of sensitivity and specificity at p >= 0.5", 0.7),
        _figure("inner_auc", "Mean AUC of the inner folds, by which a configuration is chosen", 0.75),
        *(
            Column(name, "float64", "1", f"{meaning}; missing if undefined, and for the choice itself", example, Between(-1, 1), nullable=True)
            for name, meaning, example in (
                ("difference", "AUC less that of the choice made inside the training folds, on the nodules that both have", -0.05),
                ("difference_low", "Lower 95 % limit of the difference, patients as the unit (DeLong, Obuchowski)", -0.1),
                ("difference_high", "Upper 95 % limit of the difference", 0.0),
            )
        ),
        _figure("p", "Test of no difference from the choice made inside", 0.05),
        _figure("p_holm", "The same, adjusted for all rows of the table (Holm)", 0.4),
    ),
    ("dataset", "segmenter", "region", "radius_mm", "classifier", "feature_set", "selection"),
    (
        _NO_RADIUS,
        Relation("n_malignant <= n", lambda t: t["n_malignant"] <= t["n"]),
        Relation("n_patients <= n", lambda t: t["n_patients"] <= t["n"]),
        _within("auc_low", "auc_high"),
        _within("auc_low_all", "auc_high_all"),
    ),
    sorted=False,
    optional=True,
)  # fmt: skip

_EXPLAINED = (
    _SEGMENTER,
    Column("region", "str", "", "Region or embedder of the configuration that is explained", "shell", _REGION),
    Column("radius_mm", "float64", "mm", "How far the region reaches", 8.0, _NOT_NEGATIVE),
    Column("classifier", "str", "", "Classifier by its plug-in name", "logistic", _NAME),
    Column("feature_set", "str", "", "Set of features by its name in the recipe", "all", _NAME),
)  # fmt: skip


def _drop(name: str, meaning: str, example: float) -> Column:
    return Column(name, "float64", "1", meaning, example, nullable=True)


def _around(low: str, middle: str, high: str) -> Relation:
    return Relation(
        f"{low} <= {middle} <= {high}",
        lambda t: (
            reduce(or_, map(_missing, (t[low], t[middle], t[high]))) | ((t[low] <= t[middle]) & (t[middle] <= t[high]))
        ),
    )


IMPORTANCE = Schema(
    "A feature, and how much the configuration that most outer folds chose owes to it and to those that go with it",
    (
        _DATASET,
        _INTENSITIES,
        *_EXPLAINED,
        Column("feature", "str", "", "Feature, a column of features.parquet", "original_glcm_Contrast"),
        Column("cluster", "int64", "1", "Features that go together (Spearman) have one number, from 1", 3, Between(1)),
        Column("cluster_centre", "str", "", "Feature that stands for the cluster: the one nearest to the others", "original_glcm_Contrast"),
        Column("used", "float64", "1", "Part of the outer folds whose classifier takes the feature", 1.0, _FRACTION),
        _drop("importance", "Drop in AUC on test folds when the feature is shuffled; missing outside the clusters that matter most", 0.02),
        _drop("low", "Lower 95 % limit over folds; missing with one fold", -0.01),
        _drop("high", "Upper 95 % limit over folds; missing with one fold", 0.05),
        _drop("cluster_importance", "Drop in AUC when all features of the cluster are shuffled together", 0.1),
        _drop("cluster_low", "Lower 95 % limit over folds; missing with one fold", 0.02),
        _drop("cluster_high", "Upper 95 % limit over folds; missing with one fold", 0.18),
        Column("mean_abs_shap", "float64", "1", "Mean size of its contribution to the log odds; missing for classifiers without exact ones", 0.3, _NOT_NEGATIVE, nullable=True),
        Column("cluster_mean_abs_shap", "float64", "1", "Mean size of the cluster's contributions together; missing likewise", 0.4, _NOT_NEGATIVE, nullable=True),
    ),
    ("dataset", "feature"),
    (_around("low", "importance", "high"), _around("cluster_low", "cluster_importance", "cluster_high")),
    optional=True,
)  # fmt: skip

NEIGHBOURS = Schema(
    "A nodule that tested the configuration that most outer folds chose, how far it is from the training nodules, and the nearest",
    (
        *_of("nodule"),
        _NODULE_ID,
        *_EXPLAINED,
        Column("ood", "float64", "1", "Mean distance to the nearest training nodules of other patients, standard deviations a feature; missing where the features have gaps", 0.9, _NOT_NEGATIVE, nullable=True),
        Column("ood_percentile", "float64", "1", "Per cent of the training nodules that are nearer to the others than that", 62.5, Between(0, 100), nullable=True),
        Column("neighbours", "str", "", "Those training nodules, the nearest first: JSON list of nodule_id, malignant, distance", '[{"nodule_id": "N-AAAAAAAAAAA3", "malignant": 1, "distance": 0.7}]'),
    ),
    ("dataset", "patient_id", "series_uid", "nodule_id"),
    optional=True,
)  # fmt: skip

#: Every table of a workspace by the stem of its file, ``tables/<name>.parquet`` or ``parts/<artefact>/<name>.parquet``.
SCHEMAS: Mapping[str, Schema] = {
    "series": SERIES,
    "exclusions": EXCLUSIONS,
    "nodules": NODULES,
    "agreement": AGREEMENT,
    "features": FEATURES,
    "predictions": PREDICTIONS,
    "scores": SCORES,
    "importance": IMPORTANCE,
    "neighbours": NEIGHBOURS,
}
#: Tables that come with the ``[benchmark]`` section of a recipe.
BENCHMARK_TABLES = tuple(name for name, schema in SCHEMAS.items() if schema.optional)
