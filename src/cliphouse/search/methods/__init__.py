"""The search methods, one file each. Everything else asks this registry about them.

To add one, write its file with a subclass of Method and add it to METHODS: the command line, REST,
the page, recall and plan find it here.
"""

from cliphouse.errors import QueryError
from cliphouse.search.methods.codes import QuantizedCodes
from cliphouse.search.methods.exact import Exact
from cliphouse.search.methods.hnsw import Hnsw
from cliphouse.search.methods.method import Method

AUTO = "auto"
METHODS: dict[str, Method] = {method.name: method for method in (Exact(), QuantizedCodes(), Hnsw())}


def modes() -> tuple[str, ...]:
    """What a user may give as the mode: auto, or a method's name."""
    return (AUTO, *METHODS)


def method_of(mode: str) -> Method:
    """The method of this name. Raises QueryError, naming those there are, if there is none."""
    if mode not in METHODS:
        raise QueryError(f"mode {mode!r}: it must be one of {', '.join(modes())}")
    return METHODS[mode]


def describe(mode: str, width: int | None) -> str:
    """A mode and its width for people, as in "hnsw ef 512"; a service may have modes of its own."""
    method = METHODS.get(mode)
    return method.describe(width) if method else mode


__all__ = ["AUTO", "METHODS", "Method", "describe", "method_of", "modes"]
