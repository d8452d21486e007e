"""Nodules on the ladder: what is compared with what, and figures of the whole."""

import math

import numpy as np
import pandas as pd
import pytest
from tiny_network import ball_ct, write_weights

from lungpipe.corrupt import CORRUPTIONS, SEVERITIES
from lungpipe.corrupt.auc import auc_table, predicted
from lungpipe.corrupt.distance import distances
from lungpipe.corrupt.ladder import OF_MAPS, box_of, image_of, on_image, rungs
from lungpipe.corrupt.summary import means, trends, with_start
from lungpipe.deep.bottleneck import nodule_features
from lungpipe.deep.shift import fit_reference
from lungpipe.errors import DatasetError, SegmentationError
from lungpipe.geometry import Geometry
from lungpipe.learn.models import Logistic
from lungpipe.nodule import Nodule
from lungpipe.segment.agreement import dice
from lungpipe.segment.cluster import Otsu
from lungpipe.segment.network import Network, ProbabilityMap
from lungpipe.volume import CTVolume, Mask


class Threshold:
    """Everything above -400 HU; nothing where the image is too noisy."""

    name, version = "threshold", "1"

    def __call__(self, volume, nodule):
        if float(np.std(volume.hu[:, :8, :8])) > 80:
            raise SegmentationError("nothing_at_seed", "too noisy")
        return Mask(volume.hu > -400, volume.frame).trimmed()


class Sure(Threshold):
    """The same with probability maps: two, of which the second holds the first half of the slices alone."""

    def maps(self, volume, nodule):
        whole = (volume.hu > -400).astype(np.float32)
        return ProbabilityMap(whole, (0, 0, 0)), ProbabilityMap(whole[:16], (0, 0, 0))

    def mask_of(self, volume, nodule, maps):
        return self(volume, nodule)


@pytest.fixture(scope="module")
def ball():
    return ball_ct(3)


def test_own_mask_of_the_image_as_it_is_is_what_others_are_compared_with(ball):
    """The first rung is the image itself with Dice 1; each other's Dice is with that first mask."""
    image, nodule, _ = ball
    found = list(rungs(image, nodule, Otsu(), ("blur", "motion")))
    assert [(one.row["corruption"], one.row["severity"]) for one in found] == [
        ("none", 0), *(("blur", k) for k in SEVERITIES), *(("motion", k) for k in SEVERITIES),
    ]  # fmt: skip
    assert found[0].volume is image
    assert found[0].row["dice"] == 1.0
    for one in found:
        assert one.row["dice"] == pytest.approx(dice(one.mask, found[0].mask))
        assert one.row["volume_mm3"] == one.mask.volume_mm3
        assert all(math.isnan(one.row[name]) for name in OF_MAPS)  # Otsu gives no probabilities
    assert [one.row["value"] for one in found[1:6]] == list(CORRUPTIONS["blur"].values)
    assert found[-1].row["dice"] < found[6].row["dice"]


def test_raters_are_what_others_are_compared_with_where_given(ball):
    """With masks to compare with, the Dice is the mean over them, on the image as it is too."""
    image, nodule, inside = ball
    raters = [Mask(inside > level, image.frame) for level in (0.2, 0.9)]
    first = next(rungs(image, nodule, Otsu(), (), raters))
    assert first.row["dice"] == pytest.approx(np.mean([dice(first.mask, one) for one in raters]))
    assert first.row["dice"] < 1


def test_nodule_that_is_missed_counts_as_missed(ball):
    """Where the segmenter finds nothing, Dice and volume are 0 and the reason is told; on the first rung it is an error."""
    image, nodule, _ = ball
    found = list(rungs(image, nodule, Threshold(), ("noise",)))
    assert [one.row["code"] for one in found] == ["", "", "", "", "nothing_at_seed", "nothing_at_seed"]
    assert (found[-1].mask, found[-1].row["dice"], found[-1].row["volume_mm3"]) == (None, 0.0, 0.0)
    with pytest.raises(SegmentationError):
        next(rungs(found[-1].volume, nodule, Threshold(), ("noise",)))


def test_figures_of_maps_are_those_of_the_segmenters_maps(ball):
    """A segmenter with maps gets the uncertainty of them, laid on one box, against the volume compared with."""
    image, nodule, _ = ball
    row = next(rungs(image, nodule, Sure(), ())).row
    whole = row["volume_mm3"]
    half = np.count_nonzero(image.hu[:16] > -400) * image.frame.voxel_volume_mm3
    assert row["map_volume_mm3"] == pytest.approx((whole + half) / 2)
    assert row["map_volume_sd_mm3"] == pytest.approx((whole - half) / math.sqrt(2))
    assert row["pairwise_dice"] == pytest.approx(2 * half / (whole + half))
    # each voxel of one map alone is one bit; the size is the mean of both
    assert row["entropy_bits"] == pytest.approx((whole - half) / ((whole + half) / 2))
    assert row["map_volume_crps_mm3"] > 0


def test_image_of_its_own_keeps_every_voxels_place(ball):
    """Cut out as an image of its own, voxels and masks are at the same LPS points; the margin is kept where there is tissue."""
    image, _, inside = ball
    frame = Geometry((60, 70, 80), image.frame.spacing_mm, (5.0, -7.0, 11.0))
    hu = np.full(frame.shape, -900, np.int16)
    hu[10:42, 20:60, 30:70] = image.hu
    mask = Mask(inside > 0.5, frame, (10, 20, 30))
    box = box_of(mask)
    own = image_of(box, CTVolume(hu, frame))
    moved = on_image(mask, own, box[0])
    assert own.start == (0, 0, 0)
    assert moved.n_voxels == mask.n_voxels
    np.testing.assert_allclose(moved.centre_mm, mask.centre_mm)
    assert own.hu[moved.within((0, 0, 0), own.shape).voxels].mean() == pytest.approx(
        hu[mask.within((0, 0, 0), frame.shape).voxels].mean()
    )
    for low, high, a, b, s, n in zip(*mask.bounds, *box, frame.spacing_mm, frame.shape, strict=True):
        assert (low - a) * s >= 25 or a == 0
        assert (b - high) * s >= 25 or b == n


def made_table(n=8, seed=0):
    """A ladder of two corruptions; Dice falls and entropy rises with noise, with blur nothing happens."""
    rng, rows = np.random.default_rng(seed), []
    for k in range(n):
        who = {"patient_id": f"P{k}", "series_uid": f"S{k}", "nodule_id": f"N{k}", "malignant": k % 2}
        for name, severities in (("none", [0]), ("noise", SEVERITIES), ("blur", SEVERITIES)):
            for s in severities:
                worse = s if name == "noise" else 0
                own = {
                    "corruption": name,
                    "severity": s,
                    "value": float(s),
                    "unit": "HU",
                    "code": "x" if worse == 5 else "",
                }
                own |= {"dice": 1 - 0.1 * worse, "entropy_bits": 0.2 * worse + rng.uniform(0, 0.1)}
                rows.append(who | own | {"volume_mm3": 100.0})
    return pd.DataFrame(rows)


def test_each_corruption_starts_at_the_image_as_it_is():
    """Severity 0 of every corruption is the nodule's one row of the image as it is."""
    full = with_start(made_table())
    assert sorted(full["corruption"].unique()) == ["blur", "noise"]
    assert (full.groupby(["corruption", "severity"]).size() == 8).all()


def test_means_are_those_of_the_nodules():
    """Means, nodules and misses by corruption and severity, in the order of the ladder."""
    found = means(made_table())
    assert found["corruption"].tolist() == ["noise"] * 6 + ["blur"] * 6
    assert found["severity"].tolist() == [*range(6), *range(6)]
    np.testing.assert_allclose(found["dice"][:6], 1 - 0.1 * np.arange(6))
    assert found["missed"].tolist() == [0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0]
    assert (found["n"] == 8).all()
    assert "mahalanobis" not in found


def test_trends_are_spearmans():
    """What rises with severity has 1, what falls -1, what does not change has none; measures that are not there are left out."""
    found = trends(made_table(), ("dice", "entropy_bits", "mahalanobis")).set_index(["corruption", "measure"])
    assert found.loc[("noise", "dice"), "of_means"] == pytest.approx(-1)
    assert found.loc[("noise", "entropy_bits"), "of_means"] == pytest.approx(1)
    assert found.loc[("noise", "entropy_bits"), "rising"] == 1.0
    assert math.isnan(found.loc[("blur", "dice"), "of_nodules"])
    assert abs(found.loc[("blur", "entropy_bits"), "of_nodules"]) < 0.8
    assert (found["n"] == 8).all()
    assert ("noise", "mahalanobis") not in found.index
    # As a whole: falling by half as much as under noise alone, since blur leaves it.
    assert found.loc[("all", "dice"), "of_means"] == pytest.approx(-1)
    assert found.loc[("all", "dice"), "of_nodules"] == pytest.approx(-1)
    alone = trends(made_table().query("corruption != 'blur'"), ("dice",))
    assert alone["corruption"].tolist() == ["noise"]


def test_nodules_are_measured_against_those_of_other_patients():
    """No row is measured against its own patient, and what is off on the ladder is far; a reference takes their place."""
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(20, 3))
    worse = clean + 6.0
    features = np.concatenate([clean, worse])
    as_it_is, patients = np.repeat([True, False], 20), np.tile(np.repeat(np.arange(10), 2), 2)
    mahalanobis, prototypes = distances(features, as_it_is, patients, seed=3)
    assert mahalanobis[20:].min() > mahalanobis[:20].max()
    assert np.median(prototypes[20:]) > np.median(prototypes[:20])
    # a patient's rows do not depend on that patient's own uncorrupted images, but those of others do
    off = features.copy()
    off[:2] += 1000.0
    changed = distances(off, as_it_is, patients, seed=3)[0]
    np.testing.assert_allclose(changed[20:22], mahalanobis[20:22])
    assert not np.allclose(changed[2:20], mahalanobis[2:20])
    reference = fit_reference(rng.normal(size=(30, 3)))
    np.testing.assert_array_equal(
        distances(features, as_it_is, patients, reference)[0], reference.mahalanobis(features)
    )
    with pytest.raises(DatasetError, match="two patients or more"):
        distances(features, as_it_is, np.zeros(40))


def test_auc_of_a_classifier_that_learned_on_images_as_they_are():
    """Features that tell the classes on images as they are and nothing under noise give 1 there and chance here."""
    table, rng = made_table(40), np.random.default_rng(1)
    tells = (table["corruption"] != "noise").to_numpy()
    x = np.where(tells, table["malignant"] * 4.0, 0.0) + rng.normal(0, 0.5, len(table))
    features = np.column_stack([x, rng.normal(size=len(table))])
    features[5] = np.nan  # a rung without a mask
    table["p"] = predicted(table, features, Logistic(), 4, 2, 7)
    assert table["p"][5] == 0.5
    found = auc_table(table, 4).set_index(["corruption", "severity"])["auc"]
    assert found["noise", 0] == found["blur", 5] == 1.0
    assert 0.2 < found["noise", 3] < 0.8


def test_unlabelled_nodules_are_not_judged():
    """A nodule without a label takes no part, neither in training nor in the AUC."""
    table = made_table(12).astype({"malignant": "Int64"})
    table.loc[table["patient_id"] == "P0", "malignant"] = pd.NA
    p = predicted(table, np.random.default_rng(0).normal(size=(len(table), 2)), Logistic(), 2, 2, 7)
    np.testing.assert_array_equal(np.isnan(p), table["malignant"].isna())


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The segmenter ``network`` with a tiny network that has learned balls."""
    return Network(weights=str(write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")))


def climbed(network, count, corruptions):
    features, rows, held = nodule_features(network), [], []
    for k in range(count):
        image, nodule, _ = ball_ct(k)
        for one in rungs(image, nodule, network, corruptions):
            who = {"patient_id": f"P{k}", "series_uid": f"S{k}", "nodule_id": f"N{k}"}
            rows.append(who | one.row)
            held.append(features(one.volume, nodule))
    table = pd.DataFrame(rows)
    clean = (table["severity"] == 0).to_numpy()
    table["mahalanobis"], table["prototype_distance"] = distances(np.stack(held), clean, table["patient_id"].to_numpy())
    return table


def test_a_networks_maps_and_features_are_read(network):
    """A trained network is found its eight maps and its features, two numbers for each of two channels of its finest layer."""
    image, nodule, inside = ball_ct(5)
    first = next(rungs(image, nodule, network, (), [Mask(inside >= 0.5, image.frame)]))
    assert first.row["dice"] > 0.8
    assert 0 < first.row["mutual_information_bits"] < first.row["entropy_bits"]
    assert nodule_features(network)(image, nodule).shape == (4,)
    other = Nodule("", "", "", nodule.centre_mm, (4.0, 4.0, 4.0))
    assert not np.allclose(nodule_features(network)(image, nodule), nodule_features(network)(image, other))


@pytest.mark.slow
def test_uncertainty_and_distance_rise_on_the_ladder(network):
    """With a network that learned balls, distances of balls rise with noise and blur, and entropy with noise."""
    found = trends(climbed(network, 8, ("noise", "blur")), ("entropy_bits", "mahalanobis", "prototype_distance"))
    assert (found["n"] == 8).all()
    held = found[(found["measure"] != "entropy_bits") | (found["corruption"] == "noise")]
    assert (held["of_means"] > 0.8).all(), found.to_string()
