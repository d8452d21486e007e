"""Readers of annotation formats, one module a format."""
