"""Seconds, bytes and numbers of things, as a person reads them at a glance."""

from __future__ import annotations


def seconds_text(seconds: float) -> str:
    """``0.02 s``, ``3.4 s``, ``42 s``, ``3:05``."""
    if seconds < 0.9995:
        return f"{max(seconds, 0):.2f} s" if seconds >= 0.0095 else f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 59.5 else duration_text(seconds)


def duration_text(seconds: float) -> str:
    """``0:12``, ``12:05``, ``1:02:03``."""
    minutes, rest = divmod(int(max(seconds, 0) + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def bytes_text(count: int) -> str:
    """``0 B``, ``999 B``, ``1.2 kB``, ``34 MB``; a thousand bytes are a kB."""
    number, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return f"{number:.1f} {unit}" if unit != "B" and number < 9.95 else f"{number:.0f} {unit}"


def counted(number: int, noun: str) -> str:
    """``1 site``, ``2 sites``, ``12,345 sites``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
