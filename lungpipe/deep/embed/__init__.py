"""Embedders: networks that turn a nodule and its surroundings into numbers for a classifier.

Modules that plug-ins stand in load no PyTorch; :mod:`lungpipe.deep.embed.run` and what it imports do, when a worker embeds the
first nodule.
"""
