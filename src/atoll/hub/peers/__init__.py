"""The room of streams between jobs of one run."""
