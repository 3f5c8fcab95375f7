"""Plain Python functions, written with the ``atoll-algorithm`` package."""
