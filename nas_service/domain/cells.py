"""Text in a cell of a CSV that a spreadsheet may open: a formula stays text, and our own reader gets back what it was.

Source: OWASP, CSV injection. Numbers are written as numbers, also negative ones.
"""

_STARTS_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")
_MARK = "'"


def as_cell(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would run it, or where it begins with one itself."""
    return _MARK + text if text[:1] in _STARTS_FORMULA or text.startswith(_MARK) else text


def of_cell(cell: str) -> str:
    """The text that `as_cell` was given."""
    return cell.removeprefix(_MARK)
