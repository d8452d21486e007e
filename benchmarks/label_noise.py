"""A small U-Net on labels of which a fifth is wrong near the nodule, in patches, by plain Dice and by losses said to be robust.

Wrong labels are those of ``lungpipe.deep.label_noise``: a fifth of the voxels of the nodule's box and two voxels beyond it,
drawn once for each nodule. All losses begin with the same weights and see the same patches in the same order; seeds differ in
weights, order and wrong labels. Nodules are simulated with real shapes; those judged by are of other patients, with right
labels. Printed are the mean Dice of each loss, and for each the difference from plain Dice over the seeds, with its range.

``python benchmarks/label_noise.py [STEPS] [SEEDS]``
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from data_catalog.phantom.lessons import lessons
from lungpipe.deep.device import settle
from lungpipe.deep.examples import Example, drawn
from lungpipe.deep.label_noise import neighbourhood, simulate_label_errors
from lungpipe.deep.losses import loss
from lungpipe.deep.nets import build
from lungpipe.deep.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: Channels (n, 2, z, y, x) and right labels (n, z, y, x).
    Nodules = tuple[NDArray[np.float32], NDArray[np.bool_]]

STEPS, SEEDS, BATCH, LEARNING_RATE = 100, 3, 4, 2e-3
LEARNED_FROM, JUDGED_BY = 40, 24
RATE, CORRELATION = 0.2, (0.6, 0.6, 0.6)
#: Plain Dice first; the others are compared with it.
LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "dice": ("dice_ce", {"ce_weight": 0.0}),
    "dice_ce": ("dice_ce", {}),
    "noise_robust_dice": ("noise_robust_dice", {}),
    "kms": ("kms", {"rate": RATE, "correlation": CORRELATION, "trusting": 50}),
}


def nodules(count: int, seed: int, *, held_back: bool) -> Nodules:
    """Simulated nodules as a network sees them, in cubes of 24 voxels."""
    rng, view = np.random.default_rng(seed), View(voxels=24)
    seen = [
        drawn(
            Example(one.volume.hu.astype(np.float32), (one.cover,), one.volume.frame.spacing_mm),
            view,
            rng,
            varied=False,
        )
        for one in lessons(count, seed, held_back=held_back)
    ]
    return np.stack([x for x, _ in seen]), np.stack([y[0] >= 0.5 for _, y in seen])


def trained(name: str, x: NDArray[np.float32], labels: NDArray[np.bool_], steps: int, seed: int) -> Any:
    """A network after so many steps; the seed sets weights and order, whatever the loss."""
    rule = loss(*LOSSES[name])
    torch.manual_seed(seed)
    network = build("unet", 2, {"features": (8, 16, 32)})
    own = [*rule.parameters()] if isinstance(rule, torch.nn.Module) else []
    optimiser = torch.optim.AdamW([*network.parameters(), *own], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng([seed, 1])
    order: list[int] = []
    for _ in range(steps):
        if len(order) < BATCH:
            order = rng.permutation(len(x)).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        turned = [axis for axis in (2, 3, 4) if rng.random() < 0.5]
        seen, target = (np.flip(a[chosen], turned).copy() for a in (x, labels[:, None].astype(np.float32)))
        value = rule(network(torch.from_numpy(seen)), torch.from_numpy(target))
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def dice(network: Any, x: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    """Mean Dice over nodules, logits cut at 0."""
    with torch.inference_mode():
        found = np.concatenate([(network(torch.from_numpy(one[None]))[:, 0] > 0).numpy() for one in x])
    both, size = (found & true).sum((1, 2, 3)), found.sum((1, 2, 3)) + true.sum((1, 2, 3))
    return float(np.mean(2 * both / size))


def main() -> int:
    """Print the table; 1 where the loss that models the errors does not beat plain Dice with every seed."""
    steps, seeds = (int(given) for given in (*sys.argv[1:], *(STEPS, SEEDS)[len(sys.argv) - 1 :]))
    settle()
    x, true = nodules(LEARNED_FROM, 201, held_back=False)
    judged, right = nodules(JUDGED_BY, 202, held_back=True)
    print(f"{len(x)} nodules learned from, {len(judged)} of other patients judged by; {steps} steps of {BATCH}")
    print(f"{'seed':>4} {'wrong':>6} " + " ".join(f"{name:>18}" for name in LOSSES))
    table = []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 2])
        labels = np.stack([simulate_label_errors(one, RATE, CORRELATION, rng) for one in true])
        near = sum(one[neighbourhood(one)].size for one in true)
        row = [dice(trained(name, x, labels, steps, seed), judged, right) for name in LOSSES]
        table.append(row)
        print(f"{seed:>4} {(labels ^ true).sum() / near:>6.1%} " + " ".join(f"{one:>18.3f}" for one in row), flush=True)
    against = np.asarray(table)[:, 1:] - np.asarray(table)[:, :1]
    for name, apart in zip(list(LOSSES)[1:], against.T, strict=True):
        print(f"{name} less dice: {apart.mean():+.3f} ({apart.min():+.3f} to {apart.max():+.3f})")
    return int(bool((against[:, list(LOSSES)[1:].index("kms")] <= 0).any()))


if __name__ == "__main__":
    sys.exit(main())
