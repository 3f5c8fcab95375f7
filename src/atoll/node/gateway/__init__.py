"""The job's door: how a running algorithm reaches its node, and what it may ask there."""
