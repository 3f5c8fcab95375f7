"""``python -m atoll_algorithm TARGET``: serve an algorithm to the node that started this process."""

from __future__ import annotations

import sys

from atoll_algorithm._serving import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
