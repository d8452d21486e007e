"""Prefect tasks, one module a stage, and the Dask plumbing below them; no domain logic."""
