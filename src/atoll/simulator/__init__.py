"""A federation in one process: the real hub and the real agents, and a function call between them."""
