"""The roles of a service's embedded engine, whose only user has all rights or takes on fewer.

The setting readonly keeps statements from changing tables, but not from writing files: INSERT INTO
FUNCTION and BACKUP need rights that readers do not have. Nor may readers fetch from other machines:
url() waits for one while it is analysed, and no other statement begins meanwhile.
"""

from __future__ import annotations

from pathlib import Path

READER = "reader"
_EVERYTHING = "everything"
_USERS_FILE = "users.xml"
_RIGHTS = {
    _EVERYTHING: ("GRANT ALL ON *.*",),
    READER: ("GRANT SELECT, SHOW, CHECK, dictGet, CREATE TEMPORARY TABLE ON *.*",),
}


def write_roles(folder: Path) -> None:
    """Add the roles to the engine's configuration in ``folder``. A new connection has both."""
    roles = "".join(f"<{name}>{_grants(rights)}</{name}>" for name, rights in _RIGHTS.items())
    own = _grants(tuple(f"GRANT {name}" for name in _RIGHTS))
    users = folder / _USERS_FILE
    users.write_text(
        f"<clickhouse><profiles><default/></profiles><quotas><default/></quotas>"
        f"<roles>{roles}</roles><users><default><password/><networks><ip>::/0</ip></networks>"
        f"<profile>default</profile><quota>default</quota>{own}</default></users></clickhouse>\n"
    )
    (folder / "config.d" / "roles.xml").write_text(
        f"<clickhouse><users_config>{users}</users_config></clickhouse>\n"
    )


def _grants(rights: tuple[str, ...]) -> str:
    return f"<grants>{''.join(f'<query>{right}</query>' for right in rights)}</grants>"
