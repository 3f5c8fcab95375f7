"""Atoll analyses data where it lives."""

__version__ = "0.1.0"
