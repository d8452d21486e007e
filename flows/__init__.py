"""Flows: what a user runs or schedules."""
