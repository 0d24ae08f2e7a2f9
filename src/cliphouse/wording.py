"""Figures in words, for output and messages."""


def counted(number: int, one: str) -> str:
    """A number with its noun, which gets an s unless it is one: 1 part, 5,000 parts."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"
