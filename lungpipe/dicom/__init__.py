"""DICOM (and NIfTI/NRRD) in: headers, quality codes, volumes, pseudonyms."""
