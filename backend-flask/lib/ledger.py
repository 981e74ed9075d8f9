"""The ledger of deletions: a file beside the backups, so that a restored database forgets the same users again.

A line is a JSON object with the SHA-256 of the claim `sub`, the time of the request, and the time until which backups
may hold the user. The member `outcome` is `unknown` while an operator has to look at the user pool, and else missing. A
power failure may leave half a line: the next line starts on its own, and readers skip the half.
"""

import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

# The setting DELETION_LEDGER.
LEDGER_RULE, EXAMPLE_LEDGER = "the absolute path of a file", "/backups/deletions.ledger"
LEDGER_PATTERN = "^/.*[^/]$"
# The name of the ledger beside a backup.
FILE_NAME = "deletions.ledger"
# A line has some 170 bytes. Longer ones are malformed, and a longer file is none of ours: it has over a million lines.
MAX_LINE_BYTES = 512
MAX_FILE_BYTES = 256 * 1024 * 1024
# The outcomes in the user pool. The member is left out for the first one.
DELETED, UNKNOWN = "deleted", "unknown"
START = b'{"sub_sha256": "'
# A holder keeps the lock for as long as it writes.
LOCK_SECONDS, LOCK_PAUSE_SECONDS = 2.0, 0.01


class NotALedgerError(Exception):
    """A file that is no ledger, or is too large to be one."""


class Deletion(NamedTuple):
    """The deletion of a user."""

    sub_sha256: str
    requested_at: datetime
    expires_at: datetime
    outcome: str = DELETED

    def line(self) -> bytes:
        """Return the line, with its end."""
        times = {"requested_at": self.requested_at.isoformat(), "expires_at": self.expires_at.isoformat()}
        outcome = {} if self.outcome == DELETED else {"outcome": self.outcome}
        return json.dumps({"sub_sha256": self.sub_sha256, **times, **outcome}).encode() + b"\n"


class Ledger(NamedTuple):
    """The deletions of a ledger by their hash, and the number of its malformed lines."""

    deletions: dict[str, Deletion]
    malformed: int


def reason(error: OSError | NotALedgerError) -> str:
    """Return the reason of a failure, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def append(path: Path, deletions: Iterable[Deletion]) -> None:
    """Append a line for each deletion. After the return the lines survive a power failure.

    Raises `OSError` and `NotALedgerError`.
    """
    added = b"".join(each.line() for each in deletions)
    with locked(path) as file:
        check(file, len(added) + 1)
        # After half a line, these lines start on a new one.
        torn = b"\n" if file.seek(0, os.SEEK_END) and not ends_line(file) else b""
        file.write(torn + added)
        file.flush()
        os.fsync(file.fileno())


def merge(path: Path, deletions: Iterable[Deletion], now: datetime) -> int:
    """Add deletions to the ledger, and remove those that have expired. Returns the number of its lines.

    The new file replaces the old one at once, with its owner, group and mode. Raises `OSError` and `NotALedgerError`.
    """
    path = path.resolve()
    with locked(path) as file:
        merged = {
            key: each for key, each in union(parse(file).deletions.values(), deletions).items() if each.expires_at > now
        }
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open_private(unfinished, os.O_TRUNC) as new:
                keep_owner(file, new)
                new.writelines(each.line() for each in merged.values())
                new.flush()
                os.fsync(new.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        sync_folder(path)
    return len(merged)


def read(path: Path) -> Ledger | None:
    """Return the ledger, or `None` when the file does not exist. Raises `OSError` and `NotALedgerError`."""
    try:
        with path.open("rb") as file:
            lock(file, fcntl.LOCK_SH)
            return parse(file)
    except FileNotFoundError:
        return None


def union(*parts: Iterable[Deletion]) -> dict[str, Deletion]:
    """Return the deletions by their hash. Of several with the same hash the one that expires last counts.

    Of equal ones the last counts: an operator may have closed a deletion of unknown outcome.
    """
    deletions: dict[str, Deletion] = {}
    for each in (deletion for part in parts for deletion in part):
        known = deletions.get(each.sub_sha256)
        if known is None or known.expires_at <= each.expires_at:
            deletions[each.sub_sha256] = each
    return deletions


def check(file: IO[bytes], added: int = 0) -> None:
    """Raise `NotALedgerError` for a file that is no ledger, or is too large with so many bytes more."""
    if os.fstat(file.fileno()).st_size + added > MAX_FILE_BYTES:
        raise NotALedgerError(f"it has over {MAX_FILE_BYTES:,} bytes")
    file.seek(0)
    # The first line may be half a line.
    if not START.startswith(file.readline(len(START)).rstrip(b"\n")):
        raise NotALedgerError("its first line is none of a ledger's")


def parse(file: IO[bytes]) -> Ledger:
    """Return the ledger in an open file. Raises `NotALedgerError`."""
    check(file)
    file.seek(0)
    parsed = [parse_line(line) for line in lines(file)]
    found = [each for each in parsed if each is not None]
    return Ledger(union(found), len(parsed) - len(found))


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield each line that is not blank, and of a longer one its beginning, so that no line fills the memory."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
        if line.strip():
            yield line


def parse_line(line: bytes) -> Deletion | None:
    """Return the deletion of a line, or `None` for a malformed one."""
    try:
        members = json.loads(line) if len(line) <= MAX_LINE_BYTES else {}
        sha256, *texts = (members[name] for name in ("sub_sha256", "requested_at", "expires_at"))
        outcome = members.get("outcome", DELETED)
        times = [datetime.fromisoformat(text) for text in texts]
        # Near the years 1 and 9999 the same time in UTC may be none.
        requested_at, expires_at = (each.astimezone(UTC) for each in times)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        return None
    if any(each.tzinfo is None for each in times) or outcome not in (DELETED, UNKNOWN):
        return None
    return Deletion(sha256, requested_at, expires_at, outcome)


@contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """Yield the ledger, open for appending and locked. A missing one is created. Raises `OSError`."""
    path = path.resolve()
    while True:
        with open_private(path, os.O_APPEND) as file:
            lock(file, fcntl.LOCK_EX)
            # Another process may have replaced the file before this one had the lock.
            if is_current(file, path):
                sync_folder(path)
                yield file
                return


def open_private(path: Path, flags: int) -> IO[bytes]:
    """Open a file for reading and writing. A new one is readable by its owner only."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600), "r+b")


def keep_owner(old: IO[bytes], new: IO[bytes]) -> None:
    """Give the new file the owner, group and mode of the old one, or the service can't append. Raises `OSError`."""
    status = os.fstat(old.fileno())
    try:
        os.fchown(new.fileno(), status.st_uid, status.st_gid)
        os.fchmod(new.fileno(), stat.S_IMODE(status.st_mode))
    except PermissionError:
        raise PermissionError(None, "another user owns it: run this command as that user or as root") from None


def lock(file: IO[bytes], kind: int) -> None:
    """Wait for the lock, not for ever: a stopped process may hold it. Raises `TimeoutError`."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(None, "another process has locked it") from None
        # flock() has no time limit of its own.
        time.sleep(LOCK_PAUSE_SECONDS)


def is_current(file: IO[bytes], path: Path) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def ends_line(file: IO[bytes]) -> bool:
    """Return whether the last byte of the file ends a line."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def sync_folder(path: Path) -> None:
    """Make the name of a new file survive a power failure."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
