"""Lesions put into real scans, and taken out of them: SIMULATED images for training, and for tests of what a classifier reads."""

from __future__ import annotations

from lungpipe.synthesis.inpaint import inpainted
from lungpipe.synthesis.insert import Look, inserted
from lungpipe.synthesis.place import random_place
from lungpipe.synthesis.scanner import Scanner, scanner_at
from lungpipe.synthesis.shape import SignedDistance, shape_of_mask

__all__ = [
    "Look",
    "Scanner",
    "SignedDistance",
    "inpainted",
    "inserted",
    "random_place",
    "scanner_at",
    "shape_of_mask",
]
