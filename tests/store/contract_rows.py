"""Rows that keep the contracts of a workspace's tables, for tests that break them one at a time."""

import io

from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import make_table

NAN = float("nan")
NAME = "Roe^Jane"
UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.298806137288633453246975630178"
PSEUDONYM = Pseudonymiser(b"0123456789abcdef")


def table(name, count=1, /, **values):
    """``count`` rows that keep the contract, told apart by their ids, with values changed."""
    rows = [SCHEMAS[name].example for _ in range(count)]
    for number, row in enumerate(rows):
        if "nodule_id" in row:
            row["nodule_id"] = f"N-AAAAAAAAAAA{'234567'[number]}"
        elif "series_uid" in row:
            row["series_uid"] = f"S-AAAAAAAAAAA{'234567'[number]}"
        elif "feature" in row:
            row["feature"] = f"feature_{number}"
        elif "classifier" in row:
            row["classifier"] = f"logistic{number}"
    return make_table(name, rows).assign(**values)


def parquet(frame):
    """Parquet without any check."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
