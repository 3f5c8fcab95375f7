"""Shows a result as its computation asks: tables, plots, pictures, pages or JSON."""

from atoll.cli.display.render import render
from atoll.cli.display.returned import render_value

__all__ = ["render", "render_value"]
