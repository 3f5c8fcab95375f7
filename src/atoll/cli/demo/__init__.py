"""``atoll demo``: a whole federation on this machine, and a run of each dialect on it."""
