"""The order of hits by a column of theirs, in place of their score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cliphouse.search.option import OptionError

if TYPE_CHECKING:
    from cliphouse.search.hits import Hit, HitField


@dataclass(frozen=True)
class Order:
    """Hits sorted by ``field``, the largest value first if ``is_falling``. Those without a value,
    null or NaN, come last; those with the same stay sorted by score."""

    field: HitField
    is_falling: bool

    @classmethod
    def read(cls, text: str, fields: Sequence[HitField]) -> Order:
        """The order that a name of ``fields`` says, or a name behind a minus for the largest first.

        Raises OptionError if it is empty, hits have no such column or its values are lists.
        """
        known = {field.name: field for field in fields}
        is_falling = text not in known and text.startswith("-")
        name = text[1:] if is_falling else text
        if not name.strip():
            raise OptionError("it is empty; give the name of a column", "sort")
        if name not in known:
            there = ", ".join(known)
            raise OptionError(f"hits have no column {name}; they have {there}", "sort")
        if known[name].type.sql.startswith("Array("):
            raise OptionError(f"column {name} has lists, which have no order", "sort")
        return cls(known[name], is_falling)

    @property
    def sql(self) -> str:
        """The order as the engine has it, which places null and NaN last as well."""
        return f"{self.field.quoted} {'DESC' if self.is_falling else 'ASC'}"

    def sort(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits in this order."""
        name = self.field.name
        known = [hit for hit in hits if _is_known(hit.values[name])]
        unknown = [hit for hit in hits if not _is_known(hit.values[name])]
        return sorted(known, key=lambda hit: hit.values[name], reverse=self.is_falling) + unknown


def _is_known(value: Any) -> bool:
    return value is not None and value == value
