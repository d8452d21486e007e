"""A tiny U-Net that has learned balls in lung, for tests that need a network whose masks are of use."""

import numpy as np
import torch

from lungpipe.deep import weights
from lungpipe.deep.nets import build
from lungpipe.deep.view import View
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.volume import CTVolume

VIEW, PARAMETERS = {"voxels": 16}, {"features": (4, 8)}
SPACING_MM = (1.25, 0.8, 0.8)


def ball_ct(seed, shape=(32, 40, 40)):
    """A ball of soft tissue, blurred at its edge, in lung of a scanner's noise: image, nodule and radius in mm."""
    rng = np.random.default_rng([seed, 77])
    frame = Geometry(shape, SPACING_MM)
    centre_mm = frame.to_lps((np.asarray(shape) - 1) / 2 + rng.uniform(-1, 1, 3))
    radius_mm = rng.uniform(3.5, 6.0)
    index = np.indices(shape).transpose(1, 2, 3, 0)
    away_mm = np.linalg.norm(frame.to_lps(index) - centre_mm, axis=-1) - radius_mm
    inside = np.clip(0.5 - away_mm, 0, 1)
    hu = -850 + inside * rng.uniform(700, 950) + rng.normal(0, 20, shape)
    volume = CTVolume(np.rint(hu).astype(np.int16), frame)
    return volume, Nodule("", "", "", tuple(centre_mm.tolist()), (2 * radius_mm,) * 3), inside.astype(np.float32)


def write_weights(path, steps=60, seed=0):
    """Train on balls for some seconds and write the weights as ``lungpipe train-segmenter`` does."""
    view = View(**VIEW)
    patches = []
    for number in range(24):
        volume, nodule, inside = ball_ct(1000 + number)
        patch = view.patch(volume.frame, nodule.centre_mm, nodule.size_mm)
        target = patch.sample(CTVolume(inside, volume.frame), 0.0)
        patches.append((view.channels(volume, nodule, patch), target[None]))
    x, y = (torch.from_numpy(np.stack(part)) for part in zip(*patches, strict=True))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = build("unet", 2, PARAMETERS)
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(steps):
            chosen = torch.randint(len(x), (4,))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x[chosen]), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    weights.save(path, network.state_dict(), {"network": "unet", "parameters": PARAMETERS, "view": VIEW})
    return path
