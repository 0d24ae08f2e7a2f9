"""What an export format is: the contract that each format's file fulfils."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

from cliphouse.export.rows import ChosenRows


class ExportFormat(ABC):
    """A way to write rows to files. An instance is registered in cliphouse.export.

    ``name`` is what users give as --format, and ``help`` says in a few words what is written.
    ``output`` says whether that is a folder of files or one file. ``needs`` are the columns that a
    table must have.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    output: ClassVar[Literal["folder", "file"]]
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def write(self, rows: ChosenRows, output: Path) -> list[Path]:
        """Write ``rows``, which are at least one, to ``output``, and return the paths to report.

        The table has the columns of ``needs``. A file must appear whole or not at all (see
        cliphouse.shards.whole_file), and ``rows.advance`` must be called for each row once.

        Raises TableError if the rows cannot be written in this format, or not to this place.
        """
