"""Who may do what: users with passwords, and the engine's own roles and profiles behind them.

The embedded engine has one user. It owns nothing but roles here, and each request takes on the role
and the settings profile of the user who asks, so that grants and constraints are the engine's own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class User:
    """A user: ``grants`` are statements without their TO; ``readonly`` is the setting of that name
    (1: no setting may be changed, 2: settings may); ``constant`` are settings that this user may
    not change, ``most`` the largest values of others, ``profile`` what settings are unless a
    statement brings its own."""

    name: str
    password: str
    grants: tuple[str, ...] = ("GRANT ALL ON *.*",)
    readonly: int = 0
    constant: tuple[str, ...] = ()
    most: tuple[tuple[str, int], ...] = ()
    profile: tuple[tuple[str, str], ...] = ()


OWNER = User("someone", "s3cret/?#")
# Who may read everything and change nothing, as a server's administrator makes them.
READER = User("reader", "r3ader", ("GRANT SELECT ON *.*",), readonly=1)
SEARCHER = User("searcher", "s3archer", ("GRANT SELECT ON *.*",), readonly=2)
# Who may not turn the engine's vector search off, nor choose a width.
BOUND = User(
    "bound",
    "b0und",
    ("GRANT SELECT ON *.*",),
    readonly=2,
    constant=("query_plan_try_use_vector_search", "hnsw_candidate_list_size_for_search"),
)
# Who loads and who searches with the fewest privileges, as docs/servers.md lists them.
LOADER = User(
    "loader",
    "l0ader",
    (
        "GRANT SELECT, INSERT, CREATE TABLE, DROP TABLE, OPTIMIZE, TRUNCATE, "
        "ALTER INDEX, ALTER SETTINGS, ALTER MODIFY COMMENT, ALTER ADD COLUMN, ALTER DELETE "
        "ON granted.*",
    ),
)
VISITOR = User("visitor", "v1sitor", ("GRANT SELECT ON granted.*",), readonly=1)
# Whose rows would be kept twice if they come twice, unless the statement says otherwise.
CARELESS = User(
    "careless",
    "c4reless",
    profile=(("deduplicate_insert", "disable"), ("deduplicate_insert_select", "disable")),
)
EVERYONE = (OWNER, READER, SEARCHER, BOUND, LOADER, VISITOR, CARELESS)


def write_users(path: Path, users: tuple[User, ...]) -> None:
    path.write_text(json.dumps([asdict(user) for user in users]))


def read_users(path: Path) -> tuple[User, ...]:
    return tuple(
        User(
            **{
                name: tuple(map(_item, value)) if isinstance(value, list) else value
                for name, value in user.items()
            }
        )
        for user in json.loads(path.read_text())
    )


def _item(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def write_config(folder: Path, users: tuple[User, ...]) -> Path:
    """The engine's configuration for these users."""
    roles = "".join(
        f"<{user.name}><grants>"
        + "".join(f"<query>{escape(grant)}</query>" for grant in user.grants)
        + f"</grants></{user.name}>"
        for user in users
    )
    own = "".join(f"<query>GRANT {user.name}</query>" for user in users)
    profiles = "".join(f"<{user.name}>{_constraints(user)}</{user.name}>" for user in users)
    (folder / "users.xml").write_text(
        f"<clickhouse><profiles><default/>{profiles}</profiles><roles>{roles}</roles>"
        "<users><default><password/><networks><ip>::/0</ip></networks><profile>default</profile>"
        f"<quota>default</quota><grants>{own}</grants></default></users>"
        "<quotas><default/></quotas></clickhouse>"
    )
    config = folder / "config.xml"
    config.write_text(
        f"<clickhouse><users_config>{folder / 'users.xml'}</users_config></clickhouse>"
    )
    return config


def _constraints(user: User) -> str:
    limits = [f"<{name}><const/></{name}>" for name in user.constant]
    limits += [f"<{name}><max>{value}</max></{name}>" for name, value in user.most]
    return f"<constraints>{''.join(limits)}</constraints>" if limits else ""
