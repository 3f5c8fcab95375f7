"""The algorithms that a hub keeps: bundles, by their digests."""
