"""What a check offers to mend: a copied folder's links."""

from __future__ import annotations

from cliphouse.engine.address import Address, FolderAddress
from cliphouse.engine.copied import link_again
from cliphouse.errors import TableError


def link_folder_again(address: Address) -> int:
    """Make the links that a copied database folder lacks; returns how many they were. Raises
    TableError if that cannot be done."""
    if not isinstance(address, FolderAddress) or not address.folder.is_dir():
        return 0
    try:
        return len(link_again(address.folder))
    except OSError as error:
        raise TableError(f"{address.shown}: cannot be linked again: {error}") from error
