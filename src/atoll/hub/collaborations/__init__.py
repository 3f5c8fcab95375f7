"""Collaborations: who analyses together, at which nodes."""
