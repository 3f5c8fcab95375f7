"""A node's jobs that talk to other jobs of their runs."""
