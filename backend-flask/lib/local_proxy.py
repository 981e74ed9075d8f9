"""Access to the objects behind Flask's proxies. Each access through a proxy costs 0.3 us, and the hooks have many."""

from typing import TypeVar

T = TypeVar("T")


def unwrap(proxy: T) -> T:
    """Return the object behind one of Flask's proxies."""
    # Flask documents this method under "Notes On Proxies", although its name has an underscore.
    return proxy._get_current_object()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001
