"""Whether the samples of a probabilistic U-Net differ as much as radiologists do, on real nodules' shapes.

Nodules that four radiologists of LIDC-IDRI outlined; the network learns from some patients' and is judged on others'. Their
images are not at hand and are simulated: HU of lung and nodule, mixed by the share of radiologists who outlined a voxel, so
that an edge is soft where they disagree; then blur and noise. That link between image and disagreement is put in by
construction: the figure says whether the network finds and reproduces it, not how ambiguous real images are. As a control
the same is done with images of the majority's outline alone, whose edges are equally soft everywhere: what correlation is
left there comes from shape and voxel size.

Printed is Spearman's correlation, over held-out nodules, between the radiologists' mean pairwise 1 - Dice and that of samples
drawn from the prior; the same with the nodules' volumes partialled out; and both means.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats

from data_catalog.lidc import cluster_annotations, rater_mask, read_annotations, read_scans, scan_frame
from lungpipe.deep.nets.prob_unet import ProbUNet, prob_unet
from lungpipe.deep.view import box_cover
from lungpipe.errors import AnnotationError

#: Patients of the database, in its order, that are read; every third is held out.
PATIENTS = 400
#: Voxels along a patch's sides, which are this many times the longest side of the majority's box, mm at least.
VOXELS, REACH, LEAST_MM = 16, 1.6, 6.0
#: Fewest voxels along each side of a nodule's box on the scan's own grid: below it radiologists differ by whole slices.
LEAST_SLICES = 3
#: Lung and nodule as the network sees them (of -1000 to 400 HU); blur, voxels; noise.
LUNG, NODULE, BLUR_VOXELS, NOISE = 0.1, 0.7, 0.6, 0.04
STEPS, BATCH, SAMPLES = 400, 6, 16


@dataclass(frozen=True, eq=False, slots=True)
class Outlined:
    """A nodule on its patch: four masks and the majority's box (z, y, x), its patient's number, its volume."""

    patient: int
    masks: NDArray[np.float32]
    box: NDArray[np.float32]
    volume_mm3: float


def read() -> list[Outlined]:
    """Nodules with four outlines, resampled to patches."""
    scans = list(read_scans())
    patients = {name: k for k, name in enumerate(dict.fromkeys(scan.patient_id for scan in scans))}
    chosen = [scan for scan in scans if patients[scan.patient_id] < PATIENTS]
    annotations = read_annotations([scan.scan_id for scan in chosen])
    found = []
    for scan in chosen:
        for group in cluster_annotations(scan, annotations.get(scan.scan_id, [])):
            if len(group) != 4:
                continue
            try:
                frame = scan_frame(scan)
                masks = [rater_mask(one, frame) for one in group]
            except AnnotationError:
                continue
            low = tuple(np.min([m.bounds[0] for m in masks], axis=0).tolist())
            high = tuple(np.max([m.bounds[1] for m in masks], axis=0).tolist())
            stack = np.stack([m.within(low, high).voxels for m in masks])
            one = patch(stack, frame.spacing_mm, patients[scan.patient_id])
            if one is not None:
                found.append(one)
    return found


def patch(stack: NDArray[np.bool_], spacing_mm: tuple[float, float, float], patient: int) -> Outlined | None:
    """Masks (4, z, y, x) resampled to the network's cube, or nothing where they are too thin."""
    majority = stack.sum(0) >= 2
    held = np.argwhere(majority)
    if not len(held) or (np.ptp(held, axis=0) + 1).min() < LEAST_SLICES:
        return None
    low, high = held.min(0).astype(float), held.max(0) + 1.0
    spacing = np.asarray(spacing_mm)
    step_mm = max(float(((high - low) * spacing).max()), LEAST_MM) * REACH / VOXELS
    matrix = step_mm / spacing
    offset = (low + high - 1) / 2 - matrix * (VOXELS - 1) / 2
    shape = (VOXELS,) * 3
    masks = np.stack(
        [
            ndimage.affine_transform(one.astype(np.float32), matrix, offset, shape, order=1, mode="grid-constant")
            for one in stack
        ]
    )
    centre = np.full(3, (VOXELS - 1) / 2)
    box = box_cover(shape, centre, (high - low) * spacing / 2 / step_mm)
    volume_mm3 = float(majority.sum() * spacing.prod())
    return Outlined(patient, (masks >= 0.5).astype(np.float32), box, volume_mm3)


def image(nodule: Outlined, rng: np.random.Generator, *, told: bool) -> NDArray[np.float32]:
    """Channels (2, z, y, x): a simulated image and the box. ``told``: edges are soft where the radiologists disagree."""
    share = nodule.masks.mean(0) if told else (nodule.masks.mean(0) >= 0.5).astype(np.float32)
    hu = LUNG + (NODULE - LUNG) * ndimage.gaussian_filter(share, BLUR_VOXELS)
    hu = hu + ndimage.gaussian_filter(rng.normal(0, NOISE * 2, hu.shape), 0.5)
    return np.stack([hu, nodule.box]).astype(np.float32)


def trained(nodules: list[Outlined], *, told: bool) -> ProbUNet:
    """A small network that learned from all outlines, by the bound on their likelihood."""
    torch.manual_seed(0)
    network = prob_unet(2, features=(6, 12, 24), codes=4)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=STEPS)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        xs, ys = [], []
        for k in rng.integers(len(nodules), size=BATCH):
            axes = tuple(1 + np.flatnonzero(rng.integers(2, size=3)))
            x, y = image(nodules[k], rng, told=told), nodules[k].masks[rng.integers(4)][None]
            xs.append(np.flip(x, axes).copy())
            ys.append(np.flip(y, axes).copy())
        reconstruction, divergence = network.elbo_terms(torch.from_numpy(np.stack(xs)), torch.from_numpy(np.stack(ys)))
        loss = (reconstruction + divergence).mean() / VOXELS**3
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval()


def spread(masks: NDArray[np.bool_]) -> float:
    """Mean pairwise 1 - Dice; two empty masks agree."""
    pairs = [(a, b) for a, b in combinations(masks, 2)]
    return float(np.mean([1 - 2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 0.0 for a, b in pairs]))


def judge(network: ProbUNet, nodules: list[Outlined], *, told: bool) -> None:
    """Print how the spread of samples follows that of radiologists."""
    raters, drawn, dice = [], [], []
    for k, nodule in enumerate(nodules):
        x = torch.from_numpy(image(nodule, np.random.default_rng([1, k]), told=told))[None]
        with torch.inference_mode():
            samples = network.sample(x, SAMPLES, torch.Generator().manual_seed(k))[:, 0, 0].numpy() > 0
        raters.append(spread(nodule.masks > 0))
        drawn.append(spread(samples))
        majority, mean = nodule.masks.mean(0) >= 0.5, samples.mean(0) >= 0.5
        dice.append(2 * (majority & mean).sum() / max(1, majority.sum() + mean.sum()))
    found = stats.spearmanr(raters, drawn)
    logs = [np.log(nodule.volume_mm3) for nodule in nodules]
    partial = partialled(raters, drawn, logs)
    print(
        f"  Spearman {found.statistic:.2f} (p = {found.pvalue:.1g}, {len(nodules)} nodules); volume partialled out {partial:.2f}; "
        f"volume alone {stats.spearmanr(raters, logs).statistic:.2f}\n"
        f"  mean pairwise 1 - Dice: radiologists {np.mean(raters):.3f}, samples {np.mean(drawn):.3f}; "
        f"Dice of the samples' majority with the radiologists' {np.mean(dice):.3f}",
        flush=True,
    )


def partialled(first: list[float], second: list[float], third: list[float]) -> float:
    """Spearman's partial correlation of two given a third."""
    ab, ac, bc = (stats.spearmanr(a, b).statistic for a, b in ((first, second), (first, third), (second, third)))
    return float((ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2)))


def main() -> None:
    """Train with both kinds of images and print both figures."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    nodules = read()
    learned = [one for one in nodules if one.patient % 3]
    held = [one for one in nodules if not one.patient % 3]
    print(
        f"{len(learned)} nodules of {len({one.patient for one in learned})} patients to learn from, {len(held)} of "
        f"{len({one.patient for one in held})} held out; {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    for told, name in ((True, "edges soft where radiologists disagree"), (False, "control: edges equally soft")):
        start = time.perf_counter()
        network = trained(learned, told=told)
        print(f"{name} (trained in {time.perf_counter() - start:.0f} s)", flush=True)
        judge(network, held, told=told)


if __name__ == "__main__":
    main()
