"""The ledger of deletions, for commands: its setting, and the one beside a backup."""

import re
from datetime import UTC, datetime
from pathlib import Path

from psycopg import Connection

from lib import ledger
from lib.command_errors import CommandError, malformed
from lib.ledger import EXAMPLE_LEDGER, LEDGER_PATTERN, LEDGER_RULE, Deletion, Ledger, NotALedgerError, reason
from ops.command import env_text

SETTING = "DELETION_LEDGER"
# An unconfirmed deletion may yet be refused, so it is not among these.
CONFIRMED = """
SELECT encode(deletions.sub_hash, 'hex'), deletions.requested_at, deletions.expires_at, deletions.outcome
FROM deletions
WHERE deletions.confirmed_at IS NOT NULL
"""


def ledger_setting() -> Path | None:
    """Return the file of DELETION_LEDGER, `None` if it is not set. Raises `CommandError` for a malformed value."""
    text = env_text(SETTING, LEDGER_RULE, EXAMPLE_LEDGER)
    if text and not re.fullmatch(LEDGER_PATTERN, text):
        raise CommandError(malformed(SETTING, "it does not have that form", LEDGER_RULE, EXAMPLE_LEDGER))
    return Path(text) if text else None


def beside(backup: Path) -> Path:
    """Return the path of the ledger beside a backup."""
    return backup.absolute().with_name(ledger.FILE_NAME)


def has_deletions(connection: Connection) -> bool:
    """Return whether the schema has deletions. The first 16 revisions have none."""
    return connection.execute("SELECT to_regclass('public.deletions')").fetchone() != (None,)


def confirmed(connection: Connection) -> list[Deletion]:
    """Return the confirmed deletions of a database, finished or not."""
    return [Deletion(*row) for row in connection.execute(CONFIRMED)] if has_deletions(connection) else []


def read(path: Path) -> Ledger | None:
    """Return a ledger, `None` if the file does not exist. Raises `CommandError`."""
    try:
        return ledger.read(path)
    except (OSError, NotALedgerError) as error:
        raise CommandError(
            f"{path} can't be read ({reason(error)}): a restored database forgets the users whom it names; "
            "repair it, or move it away"
        ) from error


def merge(path: Path, connection: Connection) -> int:
    """Add a database's deletions to the ledger `path`. Returns the number of its lines. Raises `CommandError`."""
    try:
        return ledger.merge(path, confirmed(connection), datetime.now(UTC))
    except (OSError, NotALedgerError) as error:
        raise CommandError(f"{path} can't be written ({reason(error)}): it is the ledger of deletions") from error
