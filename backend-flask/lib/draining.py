"""Whether the service is about to stop: said by its main process, seen by all that it has forked."""

from multiprocessing.sharedctypes import RawValue

# Without a lock, which a process that is killed could keep for ever.
_draining = RawValue("b", 0)


def drain() -> None:
    """Say that it is."""
    _draining.value = 1


def is_draining() -> bool:
    """Whether it is."""
    return bool(_draining.value)
