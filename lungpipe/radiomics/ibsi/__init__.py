"""IBSI 1 by its own definitions: the image biomarkers of Zwanenburg et al. and their five configurations.

Everything here follows the IBSI reference manual (Zwanenburg, Leger, Vallières, Löck, arXiv:1612.07003) and the consensus
paper (Zwanenburg et al., Radiology 295(2):328-338, 2020). It shares no code with the engines that compute PyRadiomics'
features, so each is a check of the other.
"""
