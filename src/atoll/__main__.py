"""What ``python -m atoll`` runs."""

from atoll.cli.main import run

run()
