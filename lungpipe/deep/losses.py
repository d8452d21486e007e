"""Losses by name, and two that hold without a model of the label's errors.

Each is a function or module of logits (n, 1, z, y, x) and a target of the same shape, 0 to 1, and gives one number. One that
is a module may own parameters of its own, which are trained with the network's.
"""

from __future__ import annotations

import difflib
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from monai.losses import DiceCELoss

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Where each loss is built: a function of its own keyword arguments.
LOSSES: Mapping[str, str] = {
    "dice_ce": "lungpipe.deep.losses:dice_ce",
    "noise_robust_dice": "lungpipe.deep.losses:noise_robust_dice",
    "kms": "lungpipe.deep.kms_loss:KmsLoss",
}
#: Added to denominators, in voxels.
LEAST = 1e-5


def loss(name: str, parameters: Mapping[str, Any]) -> Callable[[Any, Any], Any]:
    """Build a loss.

    Parameters
    ----------
    name : str
        One of :data:`LOSSES`.
    parameters : mapping
        Keyword arguments of its builder.

    Raises
    ------
    DatasetError
        If the name or a parameter is unknown, or a parameter's value makes no sense.
    """
    if name not in LOSSES:
        close = difflib.get_close_matches(name, LOSSES, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(LOSSES)}"
        raise DatasetError(f"no loss {name!r}; {advice}")
    module, _, function = LOSSES[name].partition(":")
    build = getattr(import_module(module), function)
    known = list(inspect.signature(build).parameters)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise DatasetError(f"loss {name!r} has no parameter {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    found: Callable[[Any, Any], Any] = build(**parameters)
    return found


def dice_ce(dice_weight: float = 1.0, ce_weight: float = 1.0) -> Callable[[Any, Any], Any]:
    """Dice loss of each patch plus the voxels' mean cross-entropy (MONAI's ``DiceCELoss``); a target may be a share.

    Parameters
    ----------
    dice_weight, ce_weight : float
        Of the two parts; 0 leaves one out.

    Raises
    ------
    DatasetError
        If one is negative, or both are 0.
    """
    if min(dice_weight, ce_weight) < 0 or dice_weight + ce_weight == 0:
        raise DatasetError(
            f"loss 'dice_ce' has dice_weight and ce_weight from 0 on and one above 0, found {dice_weight:g} and {ce_weight:g}"
        )
    rule = DiceCELoss(sigmoid=True, lambda_dice=dice_weight, lambda_ce=ce_weight)

    def value(logits: Any, target: Any) -> Any:
        return rule(logits.float(), target)

    return value


def noise_robust_dice(gamma: float = 1.5) -> Callable[[Any, Any], Any]:
    """Dice loss on which wrong labels weigh less.

    For probabilities p and labels g of a patch it is ``sum |p - g|**gamma / (sum p**2 + sum g**2)``, averaged over patches.
    With ``gamma`` 2 this is the Dice loss with squares in its denominator, with 1 the absolute error over the same
    denominator, whose gradient does not grow with the error (Wang et al. 2020, doi:10.1109/TMI.2020.3000314).

    Parameters
    ----------
    gamma : float
        From 1 to 2; 1.5 is the paper's.

    Raises
    ------
    DatasetError
        If it lies outside.
    """
    if not 1 <= gamma <= 2:
        raise DatasetError(f"loss 'noise_robust_dice' has a gamma from 1 to 2, found {gamma:g}")

    def value(logits: Any, target: Any) -> Any:
        probability = torch.sigmoid(logits.float())
        axes = tuple(range(1, logits.ndim))
        wrong = (probability - target).abs().pow(gamma).sum(axes)
        size = (probability**2).sum(axes) + (target**2).sum(axes)
        return (wrong / (size + LEAST)).mean()

    return value
