"""Algorithms that are measured, as small as they can be. Their central functions time their own rounds."""
