"""The catalog: public data sets, described once, and the readers of their annotations."""

from data_catalog.spec import Annotations, DatasetSpec, list_datasets, load_dataset, read_annotations

__all__ = ["Annotations", "DatasetSpec", "list_datasets", "load_dataset", "read_annotations"]
