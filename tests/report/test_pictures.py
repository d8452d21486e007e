"""Pictures of nodules are drawn once: again only where mask, volume, radius or size differ."""

import numpy as np
import pandas as pd
import pytest
from report_tables import make_tile

from lungpipe.geometry import Geometry
from lungpipe.report import tiles
from lungpipe.report.pictures import (
    FEW,
    PATH,
    SIDE_OF_FEW_PX,
    SIDE_PX,
    Sitter,
    draw_nodule,
    drawn_before,
    keep,
    shown_configuration,
    sitters_of,
)
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.volumes import write_mask, write_volume
from lungpipe.volume import CTVolume, Mask

SITTER = Sitter("N-1", "S-1", "P-1", "v" * 16, "m" * 16, 8.0, 96)


def nodules(n, **changed):
    rows = [
        {
            "nodule_id": f"N-{k}",
            "series_uid": f"S-{k}",
            "patient_id": f"P-{k}",
            "volume_id": f"v{k}",
            "artefact": f"m{k}",
            "segmenter": "otsu",
        }
        for k in range(n)
    ]
    return pd.DataFrame(rows).assign(**changed)


@pytest.mark.parametrize("field", ["nodule_id", "series_uid", "volume_id", "artefact", "radius_mm", "side_px"])
def test_key_tells_pictures_apart(field):
    """Whatever changes what is seen changes the key."""
    from dataclasses import replace

    other = replace(SITTER, **{field: 4.0 if field == "radius_mm" else 256 if field == "side_px" else "other"})
    assert other.key != SITTER.key
    assert replace(SITTER).key == SITTER.key


def test_sitters_are_nodules_with_an_image():
    """Of the first segmenter where nothing was scored; each nodule of a series once; small pictures where there are many."""
    table = pd.concat(
        [nodules(3), nodules(3, segmenter="kmeans"), nodules(1), nodules(1, volume_id="", series_uid="S")]
    )
    found = sitters_of(table, None)
    assert [one.nodule_id for one in found] == ["N-0", "N-1", "N-2"]
    assert {(one.radius_mm, one.side_px) for one in found} == {(8.0, SIDE_OF_FEW_PX)}
    assert found[1].made_from == ("P-1/volume-v1", "P-1/masks-m1")
    assert {one.side_px for one in sitters_of(nodules(FEW + 1), None)} == {SIDE_PX}
    assert len(sitters_of(nodules(5), None, 2)) == 2
    assert sitters_of(nodules(3, volume_id=""), None) == []


def test_shown_is_the_best_inside():
    """The configuration with the greatest inner AUC; where none has one, the first segmenter and 8 mm."""
    scores = pd.DataFrame(
        {
            "selection": ["fixed", "fixed", "inside"],
            "dataset": "one",
            "inner_auc": [0.6, 0.7, 0.99],
            "segmenter": ["otsu", "kmeans", "gmm"],
            "radius_mm": [0.0, 4.0, 12.0],
        }
    )
    assert shown_configuration(nodules(1), scores) == ("kmeans", 4.0)
    assert shown_configuration(nodules(1), scores.assign(inner_auc=float("nan"))) == ("otsu", 8.0)
    assert shown_configuration(nodules(0), None) == ("", 8.0)


def test_kept_pictures_come_back(tmp_path):
    """What is written is read back; a later report takes its place, and damage makes it as if it had not been."""
    place = Place.at(tmp_path)
    assert drawn_before(place) == {}
    sitters = sitters_of(nodules(3), None)
    drawn = {one.key: make_tile(k) for k, one in enumerate(sitters)}
    ref = keep(place, sitters, drawn)
    assert drawn_before(place) == drawn
    assert keep(place, sitters, drawn) == ref
    fewer = keep(place, sitters, {sitters[0].key: drawn[sitters[0].key]})  # two could not be drawn
    assert drawn_before(place) == {sitters[0].key: drawn[sitters[0].key]}
    assert [entry.ref for entry in ledger.records(place, ledger.COHORT, "pictures")] == [fewer]
    (tmp_path / PATH).write_text("{}")
    assert drawn_before(place) == {}


def test_a_nodule_is_drawn_from_the_store(tmp_path):
    """Three views with mask and surroundings, as wide as both and the margin; no outline round it for a radius of 0."""
    frame = Geometry((30, 40, 40), (1.25, 0.7, 0.7))
    inside = np.zeros(frame.shape, np.bool_)
    inside[12:18, 15:25, 15:25] = True
    place = Place.at(tmp_path)
    store = f"volumes/{SITTER.volume_id}.zarr"
    write_volume(place, store, CTVolume(np.where(inside, 0, -800).astype(np.int16), frame), {})
    write_mask(place, store, f"masks/{SITTER.artefact}/{SITTER.nodule_id}", Mask(inside, frame))
    tile = draw_nodule(SITTER, str(tmp_path))
    assert [*tile.views] == ["axial", "coronal", "sagittal"]
    assert {tuple(view.outlines) for view in tile.views.values()} == {("nodule", "8 mm")}
    assert all(path for view in tile.views.values() for path in view.outlines.values())
    width = tile.views["axial"].size[0] / 10
    least_mm = 10 * 0.7 + 2 * (8 + tiles.MARGIN_MM)
    assert min(least_mm, 40 * 0.7) - 0.1 <= width <= least_mm + 2 * 0.7
    from dataclasses import replace

    assert [*draw_nodule(replace(SITTER, radius_mm=0.0), str(tmp_path)).views["axial"].outlines] == ["nodule"]
