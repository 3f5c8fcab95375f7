"""Reads an algorithm for a site that is asked to run it, and says what the site may object to."""
