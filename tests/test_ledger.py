"""The ledger of deletions: appending, merging and reading, also after a crash and at the same time."""

import fcntl
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from lib import ledger
from lib.ledger import Deletion, NotALedgerError

NOW = datetime(2026, 11, 29, 8, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)


def deletion(sub: str, expires_at: datetime = NOW + timedelta(days=35)) -> Deletion:
    """Return the deletion of a user."""
    return Deletion(sha256(sub.encode()).hexdigest(), EARLIER, expires_at)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a ledger that holds one deletion, the bystander's."""
    path = tmp_path / "deletions.ledger"
    ledger.append(path, [deletion("bystander")])
    return path


def subs(path: Path, *names: str) -> bool:
    """Return whether the ledger holds the deletions of these users and the bystander, and no others."""
    found = ledger.read(path)
    assert found is not None
    return found.deletions == {each.sub_sha256: each for each in map(deletion, ("bystander", *names))}


def test_appended_deletions_are_read(path: Path) -> None:
    ledger.append(path, [deletion("one"), deletion("two")])
    ledger.append(path, [deletion("two")])

    assert subs(path, "one", "two")
    assert path.read_bytes().count(b"\n") == 4
    assert path.stat().st_mode & 0o777 == 0o600


def test_line_holds_no_more_than_the_hash_and_two_times(path: Path) -> None:
    assert path.read_text() == (
        '{"sub_sha256": "' + sha256(b"bystander").hexdigest() + '", '
        '"requested_at": "2026-11-28T08:00:00+00:00", "expires_at": "2027-01-03T08:00:00+00:00"}\n'
    )


def test_missing_ledger_is_none(tmp_path: Path) -> None:
    assert ledger.read(tmp_path / "missing") is None


def test_half_a_line_loses_no_other(path: Path, subtests: pytest.Subtests) -> None:
    whole = path.read_bytes()
    half = deletion("half").line()
    for length in range(1, len(half) - 1):
        with subtests.test(length=length):
            path.write_bytes(whole + half[:length])
            found = ledger.read(path)
            assert found is not None
            assert (len(found.deletions), found.malformed) == (1, 1)

            ledger.append(path, [deletion("next")])

            assert subs(path, "next")


def test_half_of_the_first_line_is_still_a_ledger(path: Path) -> None:
    path.write_bytes(deletion("half").line()[:9])

    ledger.append(path, [deletion("bystander")])

    assert subs(path)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"\0" * 170,
        b"\xff\xfe",
        b'{"sub_sha256": "' + b"0" * 64 + b'"}',
        deletion("a").line().replace(b'"sub_sha256": "', b'"sub_sha256": "0'),
        deletion("a").line().replace(b"+00:00", b""),
        deletion("a").line().replace(b'"requested_at": "2026-11-28', b'"requested_at": "2026-13-28'),
        deletion("a").line().replace(b'"requested_at": "2026-11-28T08:00:00+00:00"', b'"requested_at": 5'),
        deletion("a").line().replace(b"2026-11-28T08:00:00+00:00", b"0001-01-01T00:00:00+14:00"),
        deletion("a").line().replace(b"2027-01-03T08:00:00+00:00", b"9999-12-31T23:59:59-10:00"),
        deletion("a").line().replace(b"}", b', "outcome": "requested"}'),
        deletion("a").line().replace(b"}", b', "outcome": []}'),
        b"[" * 400,
        b" " * ledger.MAX_LINE_BYTES + deletion("a").line(),
    ],
)
def test_malformed_line_is_counted_and_skipped(path: Path, line: bytes) -> None:
    path.write_bytes(path.read_bytes() + line.rstrip(b"\n") + b"\n" + deletion("after").line())

    found = ledger.read(path)

    assert found is not None
    assert found.malformed == 1
    assert subs(path, "after")


def test_line_of_the_longest_length_is_read(path: Path) -> None:
    line = deletion("long").line()
    path.write_bytes(path.read_bytes() + b" " * (ledger.MAX_LINE_BYTES - len(line)) + line)

    assert subs(path, "long")


@pytest.mark.parametrize("content", [b"PGDMP\1\2", b"{}\n", b"a ledger\n"])
def test_other_file_is_no_ledger_and_stays(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(NotALedgerError, match="its first line is none of a ledger's"):
        ledger.read(path)
    with pytest.raises(NotALedgerError):
        ledger.merge(path, [deletion("one")], NOW)
    with pytest.raises(NotALedgerError):
        ledger.append(path, [deletion("one")])

    assert path.read_bytes() == content


def test_size_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_FILE_BYTES", path.stat().st_size)
    assert subs(path)
    monkeypatch.setattr(ledger, "MAX_FILE_BYTES", path.stat().st_size - 1)

    with pytest.raises(NotALedgerError, match=r"it has over .* bytes"):
        ledger.read(path)


def test_append_keeps_within_the_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size, added = path.stat().st_size, len(deletion("one").line()) + 1
    monkeypatch.setattr(ledger, "MAX_FILE_BYTES", size + added - 1)
    with pytest.raises(NotALedgerError, match=r"it has over .* bytes"):
        ledger.append(path, [deletion("one")])
    assert subs(path)
    monkeypatch.setattr(ledger, "MAX_FILE_BYTES", size + added)

    ledger.append(path, [deletion("one")])

    assert subs(path, "one")


def test_merge_adds_deletions_and_drops_expired_ones(path: Path) -> None:
    ledger.append(path, [deletion("old", NOW), deletion("last", NOW + timedelta(microseconds=1))])

    assert ledger.merge(path, [deletion("new"), deletion("new, and expired", NOW)], NOW) == 3

    found = ledger.read(path)
    assert found is not None
    last = deletion("last", NOW + timedelta(microseconds=1))
    assert set(found.deletions.values()) == {deletion("bystander"), last, deletion("new")}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_unknown_outcome_is_kept_until_a_later_line(path: Path) -> None:
    unknown = deletion("one")._replace(outcome="unknown")
    ledger.append(path, [unknown])
    found = ledger.read(path)
    assert found is not None
    assert found.deletions[unknown.sub_sha256] == unknown

    ledger.append(path, [deletion("one")])

    assert subs(path, "one")


def test_merge_keeps_owner_group_and_mode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o660)
    owners: list[tuple[int, int]] = []
    # Only root may give a file away.
    monkeypatch.setattr(os, "fchown", lambda _, *owner: owners.append(owner))

    ledger.merge(path, [deletion("one")], NOW)

    assert path.stat().st_mode & 0o777 == 0o660
    assert owners == [(path.stat().st_uid, path.stat().st_gid)]
    assert subs(path, "one")


def test_merge_of_a_ledger_of_another_user_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)

    with pytest.raises(PermissionError, match="run this command as that user or as root"):
        ledger.merge(path, [deletion("one")], NOW)

    assert subs(path)
    assert list(path.parent.iterdir()) == [path]


def test_merge_keeps_the_later_end(path: Path) -> None:
    later = deletion("bystander", NOW + timedelta(days=40))
    ledger.merge(path, [later], NOW)
    ledger.merge(path, [deletion("bystander")], NOW)

    found = ledger.read(path)
    assert found is not None
    assert list(found.deletions.values()) == [later]


def test_merge_follows_a_link(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)

    ledger.merge(link, [deletion("one")], NOW)

    assert link.is_symlink()
    assert subs(path, "one")


def test_failed_merge_leaves_the_ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        ledger.merge(path, [deletion("one")], NOW)

    assert subs(path)
    assert list(path.parent.iterdir()) == [path]


def append_many(path: Path, name: str) -> None:
    """Append deletions one by one."""
    for n in range(50):
        ledger.append(path, [deletion(f"{name} {n}")])


def test_processes_lose_no_line_of_each_other(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(path, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    # Each merge replaces the file below the writers.
    while any(writer.is_alive() for writer in writers):
        ledger.merge(path, [], NOW)
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0]
    assert subs(path, *(f"{name} {n}" for name in ("a", "b") for n in range(50)))


def test_lock_of_a_stopped_process_does_not_block(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LOCK_SECONDS", 0.05)
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)

        with pytest.raises(TimeoutError, match="another process has locked it"):
            ledger.append(path, [deletion("one")])
        with pytest.raises(TimeoutError, match="another process has locked it"):
            ledger.read(path)

    assert subs(path)
