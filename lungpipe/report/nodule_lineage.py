"""What the rows of each nodule were made from: the references that ``lungpipe trace`` follows to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungpipe.store.ledger import load

if TYPE_CHECKING:
    import pandas as pd

    from lungpipe.report.nodule_cards import Key
    from lungpipe.store.place import Place


def nodule_lineage(place: Place, nodules: pd.DataFrame, features: pd.DataFrame) -> dict[Key, list[tuple[str, str]]]:
    """Collect content ids and references of ledger records, for each nodule.

    Parameters
    ----------
    place : Place
        The workspace. Two records a scan are read.
    nodules, features : DataFrame
        Rows of one segmenter.

    Returns
    -------
    dict
        By series and nodule: names and values, from the features back. What the ledger lacks is left out.
    """
    made: dict[str, tuple[str, ...]] = {}

    def sources(ref: str) -> tuple[str, ...]:
        if ref not in made:
            try:
                made[ref] = load(place, ref).made_from
            except FileNotFoundError:
                made[ref] = ()
        return made[ref]

    of_features = dict(
        zip(zip(features["series_uid"], features["nodule_id"], strict=True), features["artefact"], strict=True)
    )
    found: dict[Key, list[tuple[str, str]]] = {}
    for row in nodules.drop_duplicates(["series_uid", "nodule_id"]).to_dict("records"):
        key = (str(row["series_uid"]), str(row["nodule_id"]))
        scope = row["patient_id"]
        starts = [f"{scope}/masks-{row['artefact']}"]
        if key in of_features:
            starts.insert(0, f"{scope}/features-{of_features[key]}")
        refs = dict.fromkeys([*starts, *(ref for start in starts for ref in sources(start))])
        by_kind = {ref.rpartition("/")[2].partition("-")[0]: ref for ref in refs}
        kinds = [(kind.capitalize(), by_kind[kind]) for kind in _ORDER if kind in by_kind]
        ids = [("Content of the mask", row["mask_id"]), ("HU of the scan (SHA-256)", row["voxels_sha256"])]
        ids.append(("Files of the series (SHA-256)", row["source_sha256"]))
        found[key] = [*kinds, *((name, str(value)) for name, value in ids if value)]
    return found


#: Kinds of artefact, from the feature row back.
_ORDER = ("features", "masks", "lung", "annotations", "volume")
