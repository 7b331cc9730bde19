"""Texts of other makers, made fit to be shown."""


def first_line(error: Exception) -> str:
    """The first line of an error, cut to a sentence's length."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 160 else line[:157] + "..."


def printable(text: str) -> str:
    """The text with its control characters escaped: a file may put some in its names."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
