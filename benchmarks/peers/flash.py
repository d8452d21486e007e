"""flash-radiomics on the regions of a file, in an interpreter of its own; prints CPU seconds.

Called by ``radiomics_engines.py --flash PYTHON``; needs flash-radiomics, NumPy and SimpleITK, and nothing of lungpipe.
"""

from __future__ import annotations

import sys
import time

import flash_radiomics
import numpy as np
import SimpleITK as sitk


def main() -> None:
    """Extract once to warm up and once for the time."""
    held = np.load(sys.argv[1])
    image = sitk.GetImageFromArray(held["hu"])
    masks = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in held["masks"]]
    extractor = flash_radiomics.featureextractor.RadiomicsFeatureExtractor(binWidth=25, additionalInfo=False)
    extractor.execute(image, masks[0])
    start = time.process_time()
    for mask in masks:
        extractor.execute(image, mask)
    print(time.process_time() - start)


if __name__ == "__main__":
    main()
