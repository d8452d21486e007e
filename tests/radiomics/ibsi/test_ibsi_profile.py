"""Profiles: the digital phantom's published values, what has no value and why, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import DatasetError, FeatureError, GeometryError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.ibsi.configurations import CONFIGURATIONS, configuration
from lungpipe.radiomics.ibsi.prepare import prepare
from lungpipe.radiomics.ibsi.profile import digital_phantom_rows, profile_rows
from lungpipe.radiomics.ibsi.reasons import REASONS
from lungpipe.volume import CTVolume, Mask

#: IBSI's digital phantom (reference manual, section 5.1), z, y, x; voxels of 2 mm. Zeros are outside the region, though the
#: published image has levels there too.
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
#: Published values (Zwanenburg et al. 2020, with tolerances; without one they are equal to three digits).
PUBLISHED = {
    "morph_volume": (556, 4),
    "morph_vol_approx": (592, 4),
    "morph_area_mesh": (388, 3),
    "morph_com": (0.672, 0.004),
    "morph_diam": (13.1, 0.1),
    "morph_pca_maj_axis": (11.4, 0.1),
    "morph_vol_dens_aabb": (0.869, 0.005),
    "morph_vol_dens_aee": (1.17, 0.01),
    "morph_area_dens_aee": (1.36, 0.01),
    "morph_vol_dens_conv_hull": (0.961, 0.006),
    "morph_integ_int": (1200, 10),
    "morph_moran_i": (0.0397, 0.0003),
    "morph_geary_c": (0.974, 0.006),
    "stat_mean": (2.15, 0),
    "stat_kurt": (-0.355, 0),
    "stat_qcod": (0.6, 0),
    "ih_rmad": (1.11, 0),
    "ih_max_grad": (8, 0),
    "ivh_v90": (0.0946, 0),
    "ivh_diff_i10_i90": (3, 0),
    "cm_joint_max_2D_avg": (0.519, 0),
    "cm_info_corr1_2D_avg": (-0.155, 0),
    "cm_inv_diff_norm_2D_comb": (0.854, 0),
    "cm_clust_shade_2_5D_avg": (16.6, 0),
    "cm_joint_entr_2_5D_comb": (2.61, 0),
    "rlm_sre_2D_avg": (0.641, 0),
    "rlm_r_perc_2D_comb": (0.627, 0),
    "rlm_rl_entr_3D_avg": (2.43, 0),
    "szm_lze_3D": (550, 0),
    "szm_zs_var_3D": (331, 0),
    "dzm_zd_entr_3D": (1.92, 0),
    "ngt_coarseness_3D": (0.0296, 0),
    "ngt_busyness_3D": (6.54, 0),
    "ngt_complexity_3D": (13.5, 0),
    "ngl_lde_3D": (0.045, 0),
    "ngl_dc_energy_3D": (0.0533, 0),
}


def scan(shape=(20, 30, 30), spacing_mm=(2.5, 0.9, 0.9), seed=0):
    """A noisy image and a ball in it."""
    rng = np.random.default_rng(seed)
    frame = Geometry(shape, spacing_mm, (-5.0, 3.0, 40.0))
    index = np.indices(shape).transpose(1, 2, 3, 0)
    inside = np.linalg.norm((index - (np.array(shape) - 1) / 2) * spacing_mm, axis=-1) <= 7.5
    hu = np.where(inside, 30, -700) + rng.normal(0, 60, shape)
    return CTVolume(np.rint(hu).astype(np.int16), frame), Mask(inside, frame)


def test_the_digital_phantom_has_its_published_values():
    """A choice of every family and aggregation, with the phantom typed in."""
    rows = digital_phantom_rows(PHANTOM, PHANTOM > 0, (2.0, 2.0, 2.0))
    ours = {row.tag: row.value for row in rows}
    for tag, (value, tolerance) in PUBLISHED.items():
        met = abs(ours[tag] - value) <= tolerance if tolerance else float(f"{ours[tag]:.3g}") == value
        assert met, (tag, ours[tag], value)
    assert len(rows) == 487
    assert not any(row.code for row in rows)


@pytest.mark.parametrize(
    ("name", "n"), [("ibsi-A", 411), ("ibsi-B", 411), ("ibsi-C", 275), ("ibsi-D", 275), ("ibsi-E", 275)]
)
def test_a_profile_has_every_feature_once(name, n):
    """As many rows as the published tables, with one tag each, and a value each."""
    rows = profile_rows(*scan(), name)
    assert len(rows) == n
    assert len({row.tag for row in rows}) == n
    assert not [row for row in rows if row.code or not np.isfinite(row.value)]
    assert {row.ibsi_code for row in rows if row.family.startswith("Diag")} == {""}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_crop_has_the_same_features(name):
    """Save for those of the full image; splines of E forget the border within a few voxels."""
    volume, region = scan((40, 50, 50))
    whole = profile_rows(volume, region, name)
    crop = profile_rows(volume.crop((8, 7, 7), (32, 43, 43)), region, name)
    for one, other in zip(whole, crop, strict=True):
        if other.code:
            assert other.code == "cropped_image"
            assert one.family.startswith("Diagnostics")
        else:
            assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-12), one.tag
    assert 20 < sum(bool(row.code) for row in crop) < 40


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([(1, 1, 1), (1, 1, 2), (1, 3, 3), (2, 2, 2), (3, 2, 4)]), st.integers(1, 3)
)
def test_what_has_no_value_has_a_reason(seed, shape, highest):
    """Of regions of few voxels and levels: NaN if and only if there is a code, which the list of reasons explains."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(1, highest + 1, shape)
    inside = rng.random(shape) < 0.7
    inside.flat[0] = True
    for row in digital_phantom_rows(levels, inside, (1.0, 1.0, 1.0)):
        assert bool(row.code) == bool(np.isnan(row.value)), row
        assert row.code in {"", *REASONS}


def test_the_reasons_of_a_single_voxel():
    """It has no axes, no neighbours and one intensity; its mesh, statistics, runs and zones are what they are."""
    rows = {row.tag: row for row in digital_phantom_rows([[[3]]], [[[True]]], (1.0, 1.0, 1.0))}
    codes = {tag: row.code for tag, row in rows.items()}
    assert codes["morph_pca_maj_axis"] == codes["morph_vol_dens_aee"] == "single_voxel"
    assert codes["morph_moran_i"] == codes["ivh_v10"] == "single_intensity"
    assert codes["cm_contrast_2D_avg"] == codes["cm_corr_3D_comb"] == codes["ngt_busyness_3D"] == "no_neighbours"
    assert rows["morph_volume"].value == pytest.approx(1 / 6)
    assert rows["rlm_lre_3D_avg"].value == rows["szm_lze_3D"].value == rows["ngl_hde_2D"].value == 1.0
    assert rows["stat_mean"].value == 3.0


def test_the_reasons_of_a_flat_region():
    """One grey level has pairs, but neither correlation nor information correlation."""
    rows = {row.tag: row for row in digital_phantom_rows(np.ones((1, 3, 3)), np.ones((1, 3, 3)), (1.0, 1.0, 1.0))}
    assert rows["cm_corr_3D_avg"].code == rows["cm_info_corr1_2D_comb"].code == "single_grey_level"
    assert rows["cm_joint_max_3D_avg"].value == 1.0
    assert rows["morph_vol_dens_aee"].code == "flat_region"
    assert rows["ih_max_grad"].code == "single_grey_level"
    products = digital_phantom_rows([[[1, 1, 1], [1, 2, 2]]], np.ones((1, 2, 3)), (1.0, 1.0, 1.0))
    assert {row.tag: row.code for row in products}["ngt_busyness_3D"] == "equal_products"


def test_resegmentation_spares_the_morphological_mask():
    """Voxels out of range leave the intensity mask alone; outliers are measured on the whole region."""
    volume, region = scan()
    hu = volume.hu.copy()
    hu[10, 15, 15], hu[9, 15, 15] = 900, -600
    volume = CTVolume(hu, volume.frame)
    prepared = prepare(volume, region, configuration("ibsi-A"))
    assert prepared.morphological.sum() == region.n_voxels
    assert prepared.intensity.sum() == region.n_voxels - 2
    assert prepared.diagnostics["morph_mask_vox_count_reseg_roi"] == region.n_voxels
    assert prepared.diagnostics["int_mask_max_int_reseg_roi"] < 900


def test_an_unknown_profile_is_refused():
    """And the message lists those that there are."""
    with pytest.raises(DatasetError, match="ibsi-A, ibsi-B, ibsi-C, ibsi-D, ibsi-E"):
        profile_rows(*scan(), "ibsi-F")


def test_regions_without_voxels_are_errors_with_codes():
    """Empty from the start, thinner than the new voxels, or emptied by re-segmentation."""
    volume, region = scan()
    nothing = Mask(np.zeros(region.shape, bool), region.frame)
    with pytest.raises(FeatureError) as caught:
        profile_rows(volume, nothing, "ibsi-A")
    assert caught.value.code == "empty_region"
    with pytest.raises(FeatureError) as caught:
        digital_phantom_rows(np.ones((2, 2, 2)), np.zeros((2, 2, 2)), (1.0, 1.0, 1.0))
    assert caught.value.code == "empty_region"
    speck = nothing.voxels.copy()
    speck[3, 3, 3] = True
    with pytest.raises(FeatureError, match="too thin") as caught:
        profile_rows(volume, Mask(speck, region.frame), "ibsi-C")
    assert caught.value.code == "empty_region"
    bright = CTVolume(np.full(volume.shape, 1200, np.int16), volume.frame)
    for name in ("ibsi-A", "ibsi-B", "ibsi-C", "ibsi-E"):
        with pytest.raises(FeatureError, match="1200 to 1200 HU") as caught:
            profile_rows(bright, region, name)
        assert caught.value.code == "resegmented_away"


def test_regions_that_do_not_fit_the_image_are_refused():
    """On another grid, out of a crop, or with values that are no numbers."""
    volume, region = scan()
    with pytest.raises(GeometryError, match="leaves the image block"):
        profile_rows(volume.crop((0, 0, 0), (10, 30, 30)), region, "ibsi-C")
    elsewhere = Mask(region.voxels, Geometry(region.shape, (2.5, 0.9, 1.0)))
    with pytest.raises(GeometryError, match="not on the image's grid"):
        profile_rows(volume, elsewhere, "ibsi-A")
    broken = volume.hu.astype(np.float32)
    broken[0, 0, 0] = np.nan
    with pytest.raises(FeatureError) as caught:
        profile_rows(CTVolume(broken, volume.frame), region, "ibsi-A")
    assert caught.value.code == "not_finite"
    with pytest.raises(DatasetError, match="whole numbers from 1"):
        digital_phantom_rows(np.zeros((2, 2, 2)), np.ones((2, 2, 2)), (1.0, 1.0, 1.0))
