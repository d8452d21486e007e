"""A 3D network that learns from labels whether a nodule is malignant, begun from the encoder of a segmenter.

Segmenting teaches an encoder what nodules look like on far more voxels than there are labels. Begun from it rather than from
nothing, a classifier of a few hundred nodules has less to learn: the idea of strategic warm starts (Tushar et al. 2024,
arXiv:2405.04605, there from a detector's false positives).
"""
