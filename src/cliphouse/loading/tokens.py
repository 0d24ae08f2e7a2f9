"""Settings that let the engine keep only the first of the inserts under one token."""

from __future__ import annotations

from cliphouse.engine.connection import Connection
from cliphouse.engine.features import DEDUPLICATE, DEDUPLICATE_SELECT
from cliphouse.errors import TableError

_CHOICES = {DEDUPLICATE: "enable", DEDUPLICATE_SELECT: "force_enable"}


def token_settings(connection: Connection) -> dict[str, int | str]:
    """Settings of every insert that bears a token.

    Engines before version 26 know ``insert_deduplicate`` alone; in later ones the other settings
    take precedence. Raises TableError if this user's profile turns tokens off and may not be
    overruled.
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
