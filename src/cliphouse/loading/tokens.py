"""What has the engine keep an insert once that comes twice under one token."""

from __future__ import annotations

from cliphouse.engine.connection import Connection
from cliphouse.engine.features import DEDUPLICATE, DEDUPLICATE_SELECT
from cliphouse.errors import TableError

_CHOICES = {DEDUPLICATE: "enable", DEDUPLICATE_SELECT: "force_enable"}


def token_settings(connection: Connection) -> dict[str, int | str]:
    """Settings of every insert that bears a token. Engines before 26 know ``insert_deduplicate``
    alone, later ones go by the others first.

    Raises TableError where this user's profile has tokens ignored and may not be overruled.
    """
    settings: dict[str, int | str] = {"async_insert": 0, "insert_deduplicate": 1}
    features = connection.features
    for name, choice in _CHOICES.items():
        if features.may_set(name, choice):
            settings[name] = choice
        elif features.value(name) == "disable":
            raise TableError(
                f"{connection.address.shown}: this user's profile has {name} = disable, which may "
                "not be changed, so that rows sent twice would be kept twice; have it enabled"
            )
    return settings
