"""Whether uncertainty and distance rise with severity: the network on simulated nodules that it never saw, corrupted.

Nodules are those of patients held back from every network that learns on the generator (``data_catalog.phantom.lessons``);
distances are measured against the uncorrupted nodules of the other patients. Printed are, for every corruption and for the
ladder as a whole, Spearman's correlation with the severity 0 to 5 of the means over nodules and the median of the nodules'
own; the Dice with the true mask; and the temperature of half of the nodules with the calibration of the other half.
``--table FILE`` keeps every row.

``python benchmarks/corruption_ladder.py [NODULES] [--seed N] [--weights FILE] [--table FILE]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from data_catalog.phantom.lessons import Lesson, lessons
from lungpipe.corrupt.distance import distances
from lungpipe.corrupt.ladder import image_of, on_image, rungs
from lungpipe.corrupt.summary import WHOLE, means, trends
from lungpipe.deep import predict
from lungpipe.deep.bottleneck import narrowest, nodule_features
from lungpipe.deep.temperature import fit_temperature, logits_of
from lungpipe.learn.calibration import expected_calibration_error
from lungpipe.segment.network import Network, shipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

NODULES, SEED = 12, 900_000
#: What must rise under every corruption, by this rank correlation of its means: an uncertainty and a distance.
RISING, AT_LEAST = ("unsure_mm3", "mahalanobis"), 0.8

#: What is printed beside it; the last two are the same distances in the network's narrowest layer.
BESIDE = (
    "entropy_bits", "mutual_information_bits", "pairwise_dice", "prototype_distance", "mahalanobis_narrowest",
    "prototype_distance_narrowest",
)  # fmt: skip


def climb(found: list[Lesson], network: Network) -> pd.DataFrame:
    """Rows of every nodule, with distances."""
    trained = predict.trained(network.weights or shipped(), network.weights_sha256, "cpu")
    bottom = narrowest(trained.network, 2, trained.view.voxels)
    layers = {"": nodule_features(network), "_narrowest": nodule_features(network, bottom)}
    rows: list[dict[str, object]] = []
    held: dict[str, list[NDArray[np.float32]]] = {name: [] for name in layers}
    for number, one in enumerate(found):
        box = (one.volume.start, one.volume.stop)
        image, mask = image_of(box, one.volume), one.mask
        for rung in rungs(image, one.nodule, network, against=[on_image(mask, image, box[0])]):
            who = {"patient_id": one.source, "series_uid": f"{number}", "nodule_id": f"{number}"}
            rows.append(who | rung.row)
            for name, features in layers.items():
                held[name].append(features(rung.volume, one.nodule))
        print(f"nodule {number + 1} of {len(found)}", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    clean, patients = (table["severity"] == 0).to_numpy(), table["patient_id"].to_numpy()
    for name, values in held.items():
        found_here = distances(np.stack(values), clean, patients)
        table[f"mahalanobis{name}"], table[f"prototype_distance{name}"] = found_here
    return table


def calibration(found: list[Lesson], network: Network) -> None:
    """The temperature of every second nodule, and what it does to the others."""
    halves = []
    for half in (found[::2], found[1::2]):
        p, y = [], []
        for one in half:
            maps = network.maps(one.volume, one.nodule)
            mean, start = np.mean([m.values for m in maps], axis=0), maps[0].start
            stop = np.add(start, mean.shape).tolist()
            p.append(mean.ravel())
            y.append(one.mask.within(start, (stop[0], stop[1], stop[2])).voxels.ravel())
        halves.append((logits_of(np.concatenate(p)), np.concatenate(y).astype(int)))
    (z, y), (other_z, other_y) = halves
    fitted = fit_temperature(z, y)
    before, after = (expected_calibration_error(other_y, special.expit(other_z / t)) for t in (1.0, fitted.value))
    print(f"temperature {fitted.value:.3f}; calibration error of the other half {before:.4f} before, {after:.4f} after")


def main() -> int:
    """Print the tables; 1 if a mean does not rise as it must."""
    words = sys.argv[1:]
    count = int(words[0]) if words and words[0].isdecimal() else NODULES
    weights, kept, seed = (
        words[words.index(key) + 1] if key in words else "" for key in ("--weights", "--table", "--seed")
    )
    network = Network(weights=weights)
    found = list(lessons(count, int(seed or SEED), held_back=True))
    table = climb(found, network)
    if kept:
        table.to_parquet(Path(kept), index=False)
    print(f"{count} nodules of {table['patient_id'].nunique()} patients, weights {network.weights_sha256[:12]}")
    print(means(table).drop(columns=["unit"]).round(3).to_string(index=False))
    print(trends(table, BESIDE).round(3).to_string(index=False))
    rising = trends(table, RISING)
    print(rising.round(3).to_string(index=False))
    calibration(found, network)
    high, whole = rising["of_means"] > AT_LEAST, rising["corruption"] == WHOLE
    print(
        f"above {AT_LEAST}: {high[~whole].sum()} of {(~whole).sum()} by corruption, {high[whole].sum()} of {whole.sum()} as a whole"
    )
    return int(not high.all())


if __name__ == "__main__":
    raise SystemExit(main())
