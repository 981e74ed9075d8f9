"""The draining flag of a graceful shutdown: the main process sets it, and all worker processes read it."""

from multiprocessing.sharedctypes import RawValue

# The value has no lock: a killed process would hold a lock for ever.
_draining = RawValue("b", 0)


def drain() -> None:
    """Set the flag: the service is about to stop."""
    _draining.value = 1


def is_draining() -> bool:
    """Return whether the service is about to stop."""
    return bool(_draining.value)
