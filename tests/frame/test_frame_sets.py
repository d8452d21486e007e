"""Whole sets of annotations, right and wrong, on chests in every position and on real CT."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from data_catalog import load_dataset, read_annotations
from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import read_volume
from lungpipe.frame import judge, look_at_grid, look_at_scan
from lungpipe.nodule import Nodule

DECLARED = ("lps", "ras", "voxel")


def misread(raw, declared, frame):
    """LPS centres that an adapter makes of numbers x, y, z under the declared frame, by plain arithmetic."""
    if declared == "voxel":
        scaled = np.asarray(raw) * np.asarray(frame.spacing_mm[::-1])
        return [tuple(p) for p in (scaled @ frame.matrix.T + frame.origin_mm).tolist()]
    sign = 1.0 if declared == "lps" else -1.0
    return [(sign * x, sign * y, z) for x, y, z in raw]


def nodules(scan, true, declared, annotate, size=(10.0, 10.0, 10.0)):
    raw = annotate(scan, true)
    return [
        Nodule("p", "s", str(k), c, size, frame=declared)
        for k, c in enumerate(misread(raw, declared, scan.volume.frame))
    ]


def verdict_of(scans, true, declared, annotate, size=(10.0, 10.0, 10.0)):
    evidence = [e for scan in scans for e in look_at_scan(scan.volume, nodules(scan, true, declared, annotate, size))]
    (part,) = judge(evidence).sets
    return part


@pytest.mark.parametrize("frame", DECLARED)
@pytest.mark.parametrize("size", [None, (10.0, 10.0, 10.0)])
def test_a_set_declared_rightly_is_accepted(chests, frame, size, annotate):
    """In every frame and position, with boxes and with seed points."""
    part = verdict_of(chests, frame, frame, annotate, size)
    assert part.outcome == "accepted"
    own = part.tallies[DECLARED.index(frame)]
    assert own.inside == own.in_lung == own.nodules == own.looked_at == 24
    assert own.denser >= 20


@pytest.mark.parametrize(("true", "declared"), list(permutations(DECLARED, 2)))
def test_a_set_declared_wrongly_is_refused_with_the_right_frame(chests, true, declared, annotate):
    """All six ways, in every position."""
    part = verdict_of(chests, true, declared, annotate)
    assert part.outcome == "refused"
    assert part.better == true
    assert f"declare the frame {declared} fit {true} better" in part.message


def test_indices_in_array_order_are_told_apart(chests, annotate):
    """A table of z, y, x indices under the columns x, y, z is refused and named."""
    part = verdict_of(chests, "voxel_zyx", "voxel", annotate)
    assert (part.outcome, part.better) == ("refused", "voxel_zyx")


@pytest.mark.parametrize("true", DECLARED)
def test_ground_glass_is_enough(make_chest, true, annotate):
    """Nodules of -700 HU in lung of -850 HU are accepted in their frame and refused in the others."""
    scans = [make_chest(seed=seed, nodule_hu=-700.0) for seed in range(3)]
    for declared in DECLARED:
        part = verdict_of(scans, true, declared, annotate)
        assert (part.outcome, part.better) == (("accepted", None) if declared == true else ("refused", true))


def test_one_nodule(make_chest, annotate):
    """One nodule in its frame is accepted; one that another frame brings from outside into the lung is refused."""
    scan = make_chest(at=[(0.0, 30.0, 60.0)], shift_mm=(0.0, -90.0))
    assert verdict_of([scan], "lps", "lps", annotate).outcome == "accepted"
    part = verdict_of([scan], "voxel", "lps", annotate)
    assert (part.outcome, part.better) == ("refused", "voxel")


def test_one_nodule_in_the_other_lung_is_only_doubtful(make_chest, annotate):
    """Mirrored into empty lung, one nodule warns and does not refuse: chance could do the same."""
    scan = make_chest(at=[(0.0, 40.0, 84.0)], seed=3)
    part = verdict_of([scan], "ras", "lps", annotate)
    lps, ras = part.tallies[:2]
    assert (lps.in_lung, lps.denser, ras.denser) == (1, 0, 1)
    assert (part.outcome, part.better) == ("doubtful", "ras")


def test_nodules_on_the_centre_line_cannot_tell_the_signs_apart(make_chest, annotate):
    """On the axis of LPS and RAS both readings are the same place, so the declared one stands."""
    scan = make_chest(at=[(z, 0.0, 74.0) for z in (-50, -35, -20, -5, 10, 25, 40, 55)], shift_mm=(-74.0, 0.0))
    for true, declared in (("lps", "lps"), ("ras", "lps"), ("lps", "ras")):
        assert verdict_of([scan], true, declared, annotate).outcome == "accepted"
    assert verdict_of([scan], "lps", "voxel", annotate).better == "lps"


@pytest.mark.parametrize("true", [DECLARED[0], *(pytest.param(one, marks=pytest.mark.slow) for one in DECLARED[1:])])
def test_a_tenth_of_garbage_changes_nothing(make_chest, true, annotate):
    """Rows of random numbers neither refuse a right set nor save a wrong one."""
    rng = np.random.default_rng(5)
    scans = [make_chest(seed=seed, nodules=9) for seed in range(5)]
    for declared in DECLARED:
        evidence = []
        for scan in scans:
            good = nodules(scan, true, declared, annotate)
            wild = replace(good[0], centre_mm=tuple(rng.uniform(-300, 300, 3).tolist()))
            evidence += look_at_scan(scan.volume, [*good, wild])
        (part,) = judge(evidence).sets
        assert (part.outcome, part.better) == (("accepted", None) if declared == true else ("refused", true))


def test_annotations_of_other_patients_are_not_accepted(make_chest, annotate):
    """Centres of one set on the volumes of another, far along the table, are refused without a frame to blame."""
    here, there = make_chest(seed=1), make_chest(seed=2)
    far = [
        replace(n, centre_mm=(n.centre_mm[0] + 900, n.centre_mm[1], n.centre_mm[2]))
        for n in nodules(there, "lps", "lps", annotate)
    ]
    (part,) = judge(look_at_scan(here.volume, far)).sets
    assert (part.outcome, part.better) == ("refused", None)


def test_grids_alone_tell_millimetres_from_indices(chests, annotate):
    """Without one pixel, LPS numbers declared as indices, and indices declared as LPS, are refused."""
    for true, declared in (("lps", "voxel"), ("voxel", "lps")):
        evidence = [e for s in chests for e in look_at_grid(s.volume.frame, nodules(s, true, declared, annotate))]
        (part,) = judge(evidence).sets
        assert part.outcome == "refused"


def real_sets(root, dataset, annotations):
    """Volume and nodules, their outlines taken away, of every annotated CT series below a folder."""
    table = index_series(root)
    found = read_annotations(load_dataset(dataset), annotations, table).nodules
    for series in table.series:
        mine = [replace(n, raters=()) for n in found if n.series_uid == series.series_uid]
        if mine and series.geometry is not None:
            yield read_volume(series.files, series.geometry), mine


def real_verdicts(sets):
    """Outcome and better frame by the frame that the nodules were written in and the one that they declare."""
    ways = [(true, declared) for true in DECLARED for declared in DECLARED]
    evidence = {way: [] for way in ways}
    for volume, mine in sets:
        frame = volume.frame
        for nodule in mine:
            x, y, z = nodule.centre_mm
            k, j, i = frame.to_index((x, y, z)).tolist()
            raw = {"lps": (x, y, z), "ras": (-x, -y, z), "voxel": (i, j, k)}
            shown = [
                replace(nodule, centre_mm=misread([raw[true]], declared, frame)[0], frame=declared)
                for true, declared in ways
            ]
            for way, item in zip(ways, look_at_scan(volume, shown), strict=True):
                evidence[way].append(item)
    parts = {way: judge(items).sets[0] for way, items in evidence.items()}
    return {way: (part.outcome, part.better) for way, part in parts.items()}


EXPECTED = {
    (true, declared): ("accepted", None) if true == declared else ("refused", true)
    for true in DECLARED
    for declared in DECLARED
}


@pytest.mark.real_data
def test_the_outlined_nodule_of_lidc_0314_fits_its_frame_only(lidc_0314):
    """Its centre in each frame is accepted where that is declared, and refused under every other frame, by name."""
    sets = list(real_sets(lidc_0314, "lidc-idri", None))
    assert [len(mine) for _, mine in sets] == [1]
    assert real_verdicts(sets) == EXPECTED


@pytest.mark.slow
@pytest.mark.real_data
def test_the_boxes_of_lung_dx_fit_their_frame_only(lung_dx):
    """Likewise the tumour of A0001 in both kernels, on 5 mm slices."""
    sets = list(real_sets(lung_dx, "lung-pet-ct-dx", next(lung_dx.rglob("Annotation"))))
    assert [len(mine) for _, mine in sets] == [1, 1]
    assert real_verdicts(sets) == EXPECTED
