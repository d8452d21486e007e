"""The benchmark: folds, classifiers, nested evaluation, honest choice, intervals and tables."""
