"""Algorithms as they are passed on: what of a folder is one, its bundle, and the messages that open its steps."""
