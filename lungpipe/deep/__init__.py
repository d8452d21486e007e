"""Learned models: networks that segment, embed and judge, trained and run by the same steps as everything else.

PyTorch, MONAI and safetensors come with the extra ``deep``. Modules here import them; whatever lies outside imports these
modules inside its functions, through :func:`lungpipe.deep.extra.needed`.
"""
