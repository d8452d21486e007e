"""Each nodule has a card with what the tables say of it, percentiles by their definition, and pictures while there is room."""

import numpy as np
import pandas as pd
import pytest
from report_tables import make_tile
from scipy import stats

from lungpipe.report.cohort_features import feature_rows, named_features, standing
from lungpipe.report.nodule_cards import card_table, nodule_cards
from lungpipe.report.nodule_lineage import nodule_lineage
from lungpipe.report.nodules_section import nodules_section
from lungpipe.store import ledger
from lungpipe.store.place import Place

IDS = ("a", "b", "c", "d")


def tables():
    """Four nodules of two series, d left out; a has two repeats and two data sets."""
    nodules = pd.DataFrame(
        {
            "dataset": ["one", "two", "one", "one"],
            "patient_id": ["P1", "P1", "P1", "P2"],
            "series_uid": ["S1", "S1", "S1", "S2"],
            "nodule_id": ["a", "a", "b", "c"],
            "segmenter": "otsu",
            "malignant": pd.array([1, 1, 0, None], dtype="Int64"),
            "axial_mean_mm": [8.0, 8.0, 5.0, np.nan],
            "volume_mm3": [300.0, 300.0, 100.0, 100.0],
            "codes": ["", "", "leaves_box", ""],
        }
    )
    rows = [("one", "S1", "a", 0, 0.8), ("one", "S1", "a", 1, 0.6), ("two", "S1", "a", 0, 0.1)]
    rows += [("one", "S1", "b", 0, 0.9), ("one", "S1", "b", 1, 0.9)]
    predictions = pd.DataFrame(rows, columns=["dataset", "series_uid", "nodule_id", "repeat", "p"])
    predictions = predictions.assign(segmenter="chosen", y=1)
    other = predictions.assign(segmenter="otsu", p=0.0)
    exclusions = pd.DataFrame(
        [("segment", "P2", "S2", "d", "no_cluster", "All equal."), ("index", "", "", "", "unreadable", "Ends early.")],
        columns=["stage", "patient_id", "series_uid", "nodule_id", "code", "message"],
    )
    series = pd.DataFrame({"series_uid": ["S1", "S2"], "codes": ["contrast;oblique", ""]})
    neighbours = pd.DataFrame(
        {
            "dataset": "one",
            "series_uid": "S1",
            "nodule_id": ["b"],
            "ood": [2.0],
            "ood_percentile": [50.0],
            "neighbours": ['[{"nodule_id": "a", "malignant": 1, "distance": 0.5}]'],
        }
    )
    return nodules, exclusions, pd.concat([other, predictions]), None, series, neighbours


@pytest.fixture
def cards():
    return {card["nodule_id"]: card for card in nodule_cards(*tables(), 0.0)}


def test_every_nodule_has_one_card(cards):
    """Nodules once, whatever the number of data sets; those left out last, with their code and message."""
    assert tuple(cards) == IDS
    assert cards["a"]["datasets"] == ["one", "two"]
    assert [card["label"] for card in cards.values()] == ["malignant", "benign", "no label", "left out"]
    assert cards["d"]["left_out"] == [
        {"stage": "segment", "code": "no_cluster", "message": "All equal.", "patient_id": "P2"}
    ]
    assert cards["b"]["codes"] == ["leaves_box"]
    assert cards["b"]["series_codes"] == ["contrast", "oblique"]


def test_predictions_are_those_of_the_choice(cards):
    """The mean over repeats of the first data set, its rank, and the error against the label."""
    first, second = cards["a"]["predicted"]
    assert first == {"dataset": "one", "p": pytest.approx(0.7), "rank": 2, "of": 2, "each": [0.8, 0.6]}
    assert (second["dataset"], second["p"], second["rank"], second["of"]) == ("two", 0.1, 1, 1)
    assert cards["a"]["error"] == pytest.approx(0.3)
    assert cards["b"]["error"] == pytest.approx(0.9)
    assert cards["c"]["p"] is None
    assert cards["c"]["error"] is None


def test_neighbours_lead_to_their_pages(cards):
    """A neighbour that is on the page has the name of its page, with its label in words."""
    sheet = nodules_section(list(cards.values()), [], {})
    near = {one["nodule_id"]: one["near"] for one in sheet["nodules"]}
    assert near["a"] == []
    assert near["b"][0]["nodules"] == [
        {"nodule_id": "a", "malignant": 1, "distance": 0.5, "label": "malignant", "name": "a"}
    ]


def test_same_name_on_two_series_gets_two_addresses():
    """Addresses within the page are unique, and hold no letter that an address cannot."""
    nodules, exclusions, predictions, features, series, neighbours = tables()
    nodules = nodules.assign(nodule_id=["x y"] * 4)
    found = [card["name"] for card in nodule_cards(nodules, exclusions, predictions, features, series, neighbours, 0.0)]
    assert found == ["x-y", "x-y-2", "d"]


def test_download_has_a_row_a_nodule(cards):
    """All cards, with codes, features and percentiles."""
    table = card_table(cards.values()).set_index("nodule_id")
    assert list(table.index) == list(IDS)
    assert table.loc["a", "volume_mm3"] == 300
    assert table.loc["d", "left_out"] == "no_cluster"
    assert np.isnan(table.loc["d", "volume_mm3"])


def test_percentile_is_the_mean_rank():
    """The share below and half of the share equal, as SciPy has it; unknown values have none and count for nothing."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 8, 40).astype(float)
    values[5] = np.nan
    known = values[~np.isnan(values)]
    expected = [stats.percentileofscore(known, v, kind="mean") if np.isfinite(v) else np.nan for v in values]
    np.testing.assert_allclose(standing(values, values), expected)
    assert np.isnan(standing(values, np.array([np.nan]))).all()


def test_features_stand_among_all_and_each_class():
    """Volumes 1 to 4, benign below malignant: the third is the smallest malignant one."""
    index = pd.MultiIndex.from_arrays([["S"] * 4, list(IDS)])
    nodules = pd.DataFrame({"volume_mm3": [1.0, 2.0, 3.0, 4.0], "calcified_fraction": 0.0}, index=index)
    features = pd.DataFrame(
        {
            "series_uid": "S",
            "nodule_id": [*IDS, *IDS],
            "region": ["nodule"] * 4 + ["shell"] * 4,
            "radius_mm": [0.0] * 4 + [8.0] * 4,
            "original_firstorder_Mean": [0.0] * 4 + [-800.0, -700.0, -600.0, -500.0],
            "original_shape_Sphericity": [0.9, 0.8, 0.7, np.nan] + [0.1] * 4,
        }
    )
    table, named = named_features(nodules, features, 8.0)
    assert [one.name for one in named] == ["Volume", "Sphericity", "Mean HU, shell of 8 mm"]  # one constant is left out
    np.testing.assert_array_equal(table["surroundings_mean_hu"], [-800, -700, -600, -500])
    rows = feature_rows(table, named, np.array([0.0, 0.0, 1.0, np.nan]))
    volume = rows["S", "c"][0]
    assert (volume["value"], volume["all"], volume["benign"], volume["malignant"]) == ("3 mm\u00b3", 62, 100, 50)
    assert [one["name"] for one in rows["S", "d"]] == ["Volume", "Mean HU, shell of 8 mm"]


def test_pictures_share_a_room():
    """Once it is spent, further nodules have no picture, and the page says of how many that is so."""
    nodules = tables()[0].iloc[[0]]
    nodules = pd.concat([nodules.assign(nodule_id=f"n{i:02d}", series_uid="") for i in range(6)])
    cards = nodule_cards(nodules, *tables()[1:], 0.0)
    tiles = [make_tile(i) for i in range(6)]
    whole = nodules_section(cards, tiles, {})
    assert whole["pictured"] == 6
    one = sum(map(len, whole["nodules"][0]["views"].values()))
    part = nodules_section(cards, tiles, {}, picture_bytes=int(2.5 * one))
    assert 1 <= part["pictured"] <= 3
    assert part["shown"] == 7
    assert nodules_section([], [], {}) is None


def test_lineage_leads_from_features_to_volume(tmp_path):
    """References of the ledger in the order from the features back, and the ids of the contents."""
    place = Place.at(str(tmp_path))
    volume = ledger.record(place, ledger.named("P-AAAAAAAAAAA2", "volume", subject={}))
    masks = ledger.record(place, ledger.named("P-AAAAAAAAAAA2", "masks", subject={}, made_from=[volume.ref]))
    made = ledger.record(
        place, ledger.named("P-AAAAAAAAAAA2", "features", subject={}, made_from=[volume.ref, masks.ref])
    )
    row = {"patient_id": "P-AAAAAAAAAAA2", "series_uid": "S", "nodule_id": "N", "mask_id": "c3", "voxels_sha256": ""}
    nodules = pd.DataFrame([row | {"artefact": masks.id, "source_sha256": "ab"}])
    features = pd.DataFrame([{"series_uid": "S", "nodule_id": "N", "artefact": made.id}])
    assert nodule_lineage(place, nodules, features) == {
        ("S", "N"): [
            ("Features", made.ref),
            ("Masks", masks.ref),
            ("Volume", volume.ref),
            ("Content of the mask", "c3"),
            ("Files of the series (SHA-256)", "ab"),
        ]
    }
    lost = nodules.assign(artefact="0" * 16)
    assert nodule_lineage(place, lost, features.head(0))["S", "N"][0] == ("Masks", f"P-AAAAAAAAAAA2/masks-{'0' * 16}")
