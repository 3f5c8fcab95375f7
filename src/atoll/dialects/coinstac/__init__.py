"""The dialect of COINSTAC: its documents, its order of rounds, and how its scripts are called."""
