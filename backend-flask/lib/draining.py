"""Whether the service is about to stop: said by its main process, seen by all that it has forked."""

from collections.abc import Iterable
from multiprocessing.sharedctypes import RawValue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Without a lock, which a process that is killed could keep for ever.
_draining = RawValue("b", 0)


def drain() -> None:
    """Say that it is."""
    _draining.value = 1


def is_draining() -> bool:
    """Whether it is."""
    return bool(_draining.value)


class HangUp:
    """WSGI middleware: while draining, each connection ends with its answer, so that its client comes to others."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The application's answer."""
        if not _draining.value:
            return self._app(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            # The server reads this one (RFC 9112, section 9.6), though it is not for applications to say.
            return start_response(status, [*headers, ("Connection", "close")], *rest)

        return self._app(environ, start)
