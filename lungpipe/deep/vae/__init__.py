"""Variational autoencoders of nodules: an encoder to a few numbers, and a decoder that says what the numbers mean.

The latents are a feature set like any other (embedder ``vae``). After Keel, Quyn, Jayne and Relton, Variational autoencoders
for feature exploration and malignancy prediction of lung lesions (2023, arXiv:2311.15719), who compare Gaussian and Dirichlet
latents of 64 x 64 slices.
"""
