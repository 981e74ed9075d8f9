"""Which process holds which of a server's connections, as Linux tells it: proc(5)."""

from contextlib import suppress
from pathlib import Path

from harness.processes import PROC

ESTABLISHED = "01"


def connections(port: int) -> dict[str, int]:
    """The connections to the server on `port` of this machine: the other end's port, by inode."""
    found = {}
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *rest = line.split()
        if state == ESTABLISHED and int(local.partition(":")[2], 16) == port:
            found[rest[5]] = int(remote.partition(":")[2], 16)
    return found


def held_by(pid: int, port: int) -> set[int]:
    """The other ends' ports of the connections to `port` that a process holds."""
    served = connections(port)
    return {served[inode] for inode in inodes(pid) if inode in served}


def inodes(pid: int) -> set[str]:
    """The sockets of a process, by inode; none of one that is not there any more."""
    found = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):
                found.add(str(Path(descriptor).readlink()).removeprefix("socket:[").removesuffix("]"))
    return found
