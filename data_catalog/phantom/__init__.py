"""A simulated cohort with real nodule shapes, for tests and demonstrations: its intensities are simulated."""

from __future__ import annotations

from data_catalog.phantom.cohort import write_phantom

__all__ = ["write_phantom"]
