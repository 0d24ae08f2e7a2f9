"""SQL text as users paste it: several statements, comments, a FORMAT at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator

# The pieces of a statement in which a semicolon does not end it, and the semicolon that does.
_PIECES = re.compile(
    r"""(?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|‘[^’]*’|“[^”]*”)"""
    r"""|(?P<here>(?<![\w$])\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"""|(?P<comment>--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)"""
    r"""|(?P<open>['"`‘“]|/\*)"""
    r"""|(?P<end>;|\\G\b)""",
    re.DOTALL,
)
_PIECES_AND_BRACKETS = re.compile(
    rf"{_PIECES.pattern}|(?P<opening>[(\[{{])|(?P<closing>[)\]}}])", _PIECES.flags
)
VERTICAL = r"\G"  # ends a statement whose rows are to be printed as blocks
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*(?:\bSETTINGS\b[^']*)?$", re.IGNORECASE)
_RETURNS_ROWS = re.compile(
    r"[\s(]*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS|CHECK|VALUES|FROM)\b", re.IGNORECASE
)
_QUERY = re.compile(r"[\s(]*(SELECT|WITH|VALUES|FROM)\b", re.IGNORECASE)
# What str.strip() takes for blanks, and marks that cannot be seen.
_BLANKS = "\ufeff\u200b\u200c\u200d\u2060\u180e" + "".join(
    letter for letter in map(chr, range(0x3001)) if letter.isspace()
)
_ORDER = re.compile(r"\bORDER\s+BY\b", re.IGNORECASE)
_DISTANCE = re.compile(r"distance\w*\s*\(|\bdotProduct\s*\(|<->|<=>", re.IGNORECASE)
_INSERTS = re.compile(r"INSERT\b|WITH\b.*\bINSERT\s+INTO\b", re.IGNORECASE | re.DOTALL)
_INSERT = re.compile(r"\bINSERT\b", re.IGNORECASE)
_INFILE = re.compile(r"\s*INSERT\b.*?\bFROM\s+INFILE\b", re.IGNORECASE | re.DOTALL)

_READ = re.compile(r"\b(?:FROM|JOIN|IN)\s+([^\W\d]\w*(?:\.\w+)?)\b(?!\s*[(.])", re.IGNORECASE)
_OUTFILE = re.compile(r"\bINTO\s+OUTFILE\b", re.IGNORECASE)
_ENDS_ENGINE = re.compile(r"SYSTEM\s+(SHUTDOWN|KILL)\b", re.IGNORECASE)


def split_statements(text: str) -> list[str]:
    """The statements of ``text`` without their semicolons, but with a VERTICAL at the end; comments
    alone are not statements, nor are blanks that cannot be seen, such as a byte order mark."""
    pieces = []
    start = 0
    for end in _ends(text):
        pieces.append(text[start : end.end() if end[0] == VERTICAL else end.start()])
        start = end.end()
    pieces.append(text[start:])
    stripped = (piece.strip(_BLANKS) for piece in pieces)
    return [piece for piece in stripped if _bare(piece).strip(_BLANKS)]


def has_open_comment(statement: str) -> bool:
    """Whether a comment of a statement does not end: what follows it would be of the comment."""
    opened = (piece["open"] for piece in _PIECES.finditer(statement) if piece["open"])
    return next(opened, "") == "/*"


def is_finished(text: str) -> bool:
    """Whether the last statement of ``text`` ends with a semicolon, or with VERTICAL."""
    ends = list(_ends(text))
    return bool(ends) and not _bare(text[ends[-1].end() :]).strip()


def is_within_text(text: str) -> bool:
    """Whether ``text`` ends within a string, a quoted name or a comment."""
    last = None
    for last in _PIECES.finditer(text):
        if last["open"]:
            return True
    is_comment = last is not None and last["comment"] and not last["comment"].endswith("*/")
    return bool(is_comment and last is not None and last.end() == len(text))


def find_unbalanced(expression: str) -> int | None:
    """The index of the first bracket, quote or comment in an expression that lacks its
    counterpart; None if every one has it."""
    unclosed: list[re.Match[str]] = []
    for piece in _PIECES_AND_BRACKETS.finditer(expression):
        if piece["open"]:
            return piece.start()
        if piece["opening"]:
            unclosed.append(piece)
        elif piece["closing"] and (not unclosed or _BRACKETS[unclosed.pop()[0]] != piece[0]):
            return piece.start()
    return unclosed[0].start() if unclosed else None


def find_name(expression: str, name: str) -> int | None:
    """The index of a column's or function's name, quoted or not, outside of strings and comments;
    None if the expression does not have it."""
    wanted = rf"""(?P<wanted>(?<![\w.`"“])[`"“]?{re.escape(name)}(?!\w)[`"”]?)"""
    pieces = re.compile(f"{wanted}|{_PIECES.pattern}", _PIECES.flags)
    return next((m.start() for m in pieces.finditer(expression) if m["wanted"]), None)


def returns_rows(statement: str) -> bool:
    """Whether a statement surely returns rows, as a query does."""
    return _RETURNS_ROWS.match(_bare(statement).lstrip(_BLANKS)) is not None


def is_query(statement: str) -> bool:
    """Whether a statement is a query, whose result can be large, unlike that of SHOW or EXPLAIN."""
    is_one = _QUERY.match(_bare(statement).lstrip(_BLANKS)) is not None
    return is_one and not is_insert(statement)


def is_blank(text: str) -> bool:
    """Whether there is nothing in ``text`` but blanks and comments."""
    return not _bare(text).strip(_BLANKS)


def tables_read(statement: str) -> list[str]:
    """The names behind FROM, JOIN and IN that a query reads, with the database if it is given; not
    those in quotes, of functions, or that WITH defines."""
    bare = _bare(statement)
    return [
        name
        for name in _READ.findall(bare)
        if not re.search(rf"\b{re.escape(name)}\s+AS\s*\(", bare, re.IGNORECASE)
    ]


def only_reads(statement: str) -> bool:
    """Whether a statement returns rows and changes nothing. (WITH may begin an INSERT, too.)"""
    return returns_rows(statement) and _INSERT.search(_bare(statement)) is None


def names_format(statement: str) -> bool:
    """Whether a statement names the FORMAT of its result; that of an INSERT is its data's."""
    return named_format(statement) is not None


def named_format(statement: str) -> str | None:
    """The FORMAT of its result that a statement names; None if it names none."""
    match = None if is_insert(statement) else _FORMAT.search(_bare(statement).rstrip())
    return match[1] if match else None


def is_insert(statement: str) -> bool:
    """Whether a statement is an INSERT, also behind WITH."""
    return _INSERTS.match(_bare(statement).lstrip(_BLANKS)) is not None


def is_set(statement: str) -> bool:
    """Whether a statement SETs something."""
    return re.match(r"SET\b", _bare(statement).lstrip(_BLANKS), re.IGNORECASE) is not None


def sorts_by_distance(statement: str) -> bool:
    """Whether a statement may sort rows by a distance, as a search does."""
    bare = _bare(statement)
    return _ORDER.search(bare) is not None and _DISTANCE.search(bare) is not None


def names_in(statement: str) -> set[str]:
    """The names in a statement, of tables and anything else, without strings and comments."""
    names: set[str] = set()
    for piece in _PIECES.finditer(statement):
        if piece["text"] and piece["text"][0] in '"`“':
            names.add(piece["text"][1:-1])
    return names | set(re.findall(r"[^\W\d]\w*", _bare(statement)))


def reads_local_file(statement: str) -> bool:
    """Whether a statement is INSERT ... FROM INFILE, which a client runs and a server does not."""
    return _INFILE.match(_bare(statement)) is not None


def writes_local_file(statement: str) -> bool:
    """Whether a statement is SELECT ... INTO OUTFILE, whose file a client writes."""
    return _OUTFILE.search(_bare(statement)) is not None


def ends_engine(statement: str) -> bool:
    """Whether a statement ends the process of the engine, as SYSTEM SHUTDOWN does."""
    return _ENDS_ENGINE.match(_bare(statement).lstrip(_BLANKS)) is not None


def replace_outside_strings(statement: str, pattern: str, replacement: str) -> str:
    """``statement`` with ``pattern`` replaced outside of strings, quoted names and comments."""
    pieces = re.compile(f"{_PIECES.pattern}|(?P<wanted>{pattern})", _PIECES.flags)
    return pieces.sub(lambda m: replacement if m["wanted"] else m[0], statement)


def _ends(text: str) -> Iterator[re.Match[str]]:
    for piece in _PIECES.finditer(text):
        if piece["open"]:
            return  # the rest of the text is in a string or comment that is not closed
        if piece["end"]:
            yield piece


def _bare(statement: str) -> str:
    """The statement without comments and with empty strings."""
    return _PIECES.sub(lambda m: "''" if m["text"] or m["here"] else " ", statement)
