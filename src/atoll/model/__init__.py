"""The nouns of a federated analysis. Pure: no I/O, no clock, no dice, no library."""
