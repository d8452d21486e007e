"""Checklists for radiomics and prediction models: their items as data, and rules that look for each in a run."""
