"""Runs at the hub: submitted, looked at, decided about, ended."""
