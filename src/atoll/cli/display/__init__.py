"""Shows a result as its computation asks: tables, plots, pictures, pages or JSON."""

from atoll.cli.display.render import render

__all__ = ["render"]
