"""Algorithms of vantage6, generations 4 and 5, as they are published."""
