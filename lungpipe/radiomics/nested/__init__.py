"""Texture and first-order features of many regions of one image at once, by PyRadiomics' definitions."""
