"""The catalog: public data sets, described once, and the readers of their annotations."""

from data_catalog.spec import (
    Annotations,
    DatasetSpec,
    contamination,
    list_datasets,
    load_dataset,
    read_annotations,
    shared_patients,
    shortfall,
)

__all__ = [
    "Annotations",
    "DatasetSpec",
    "contamination",
    "list_datasets",
    "load_dataset",
    "read_annotations",
    "shared_patients",
    "shortfall",
]
