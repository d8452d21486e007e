"""The surroundings of a nodule, in millimetres."""
