"""``python -m atoll_algorithm TARGET``: serve an algorithm to the node that started this process."""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import sys

from atoll_algorithm._serving import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
