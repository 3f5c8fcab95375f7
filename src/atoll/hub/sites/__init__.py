"""Nodes at the hub: registered, heard of, given work."""
