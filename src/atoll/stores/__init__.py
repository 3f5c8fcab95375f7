"""Where a hub keeps runs and blobs."""
