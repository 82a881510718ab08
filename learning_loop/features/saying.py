"""Figures and texts as people read them."""


def clipped(text: str, most: int) -> str:
    """Return text as one line of at most so many characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def seconds(value: float) -> str:
    """Return a duration in seconds in the unit that suits it."""
    if value < 0.0005:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"
