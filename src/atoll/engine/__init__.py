"""The pure core: what follows what, what is promised at each port, and every bound."""
