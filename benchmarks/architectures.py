"""Segmentation architectures: parameters beside those that their papers state, and seconds of a forward pass.

Each is built at the widths of its paper, with the paper's channels in, in 2D where the paper is (one channel out, norms of two
numbers a channel instead of biases or batch norms: figures agree to a thousandth, not to the last digit). Seconds are
processor time, the least of several passes of one cube of 48 voxels at lungpipe's default widths on one thread, and the same
relative to ``unet``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch

from lungpipe.deep.nets import NETWORKS, build
from lungpipe.deep.nets.r2unet import R2UNet
from lungpipe.deep.nets.unetpp import UNetPlusPlus

VOXELS, PASSES = 48, 5


@dataclass(frozen=True, slots=True)
class Paper:
    """An architecture at its paper's widths: how it is built, a description of that, and what the paper states."""

    build: Callable[[], Any]
    widths: str
    stated: str


PAPERS = {
    "unet": Paper(
        lambda: build("unet", 3, {"features": [64, 128, 256, 512]}), "64 to 512, 3 in, 3D", "19 069 955 (3 classes)"
    ),
    "unetpp": Paper(lambda: UNetPlusPlus(1, (32, 64, 128, 256, 512), flat=True), "32 to 512, 1 in, 2D", "9.04 million"),
    "r2unet": Paper(lambda: R2UNet(1, (16, 32, 64, 128), 2, flat=True), "16 to 128, 1 in, 2D", "not compared"),
    "mpunet": Paper(
        lambda: build("mpunet", 1, {"features": [isqrt(2 * width**2) for width in (64, 128, 256, 512, 1024)]}),
        "90 to 1448, 1 in, 2D",
        "62 million",
    ),
    "unet25d": Paper(
        lambda: build("unet25d", 1, {"features": [64, 128, 256, 512, 1024]}), "64 to 1024, 1 in, 2D", "none at hand"
    ),
    "prob_unet": Paper(
        lambda: build("prob_unet", 1, {"features": [32, 64, 128, 192, 192]}), "32 to 192, 1 in, 3D", "none (2D there)"
    ),
}


def parameters(network: Any) -> int:
    """How many numbers are learned."""
    return sum(one.numel() for one in network.parameters())


def seconds(network: Any) -> float:
    """Processor seconds of a forward pass, the least of several after one that does not count."""
    x = torch.rand(1, 2, VOXELS, VOXELS, VOXELS)
    found = []
    with torch.inference_mode():
        for _ in range(PASSES + 1):
            start = time.process_time()
            network(x)
            found.append(time.process_time() - start)
    return min(found[1:])


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        f"{'':10}{'paper widths':>22}{'parameters':>13}{'stated there':>24}{'default':>11}{'forward s':>11}{'of unet':>9}"
    )
    base = 0.0
    for name in NETWORKS:
        paper = PAPERS[name]
        with torch.device("meta"):
            at_paper = parameters(paper.build())
        network = build(name, 2, {}).eval()
        spent = seconds(network)
        base = base or spent
        print(
            f"{name:10}{paper.widths:>22}{at_paper:>13,}{paper.stated:>24}{parameters(network):>11,}{spent:>11.2f}"
            f"{spent / base:>9.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
