"""How algorithms are written: what comes next, and how they are called."""
