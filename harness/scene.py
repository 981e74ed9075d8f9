"""Where most drills play: the service, Postgres, and between them a network that can be told to misbehave."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from psycopg.conninfo import make_conninfo

from harness.environment import Ground, ground, serving
from harness.postgres import NOTHING, Cluster
from harness.proxy import Proxy, proxy

WRITERS, READERS = 16, 8
# Of readers, who leave the machine its breath also while they are answered at once.
PAUSE = 0.01


class Scene(NamedTuple):
    """Postgres with people in it, the network that leads there, and where the service is."""

    postgres: Ground
    network: Proxy
    url: str

    @property
    def cluster(self) -> Cluster:
        """Postgres itself."""
        return self.postgres.cluster

    @property
    def page(self) -> str:
        """The path of a page that is read from the database each time."""
        return f"/api/activities/@{self.postgres.people[0].handle}"


@contextmanager
def scene(
    *, options: Mapping[str, str] = NOTHING, words: Mapping[str, str] = NOTHING, settings: Mapping[str, str] = NOTHING
) -> Iterator[Scene]:
    """A scene, with server settings, words of the connection string, and settings of the service besides the usual."""
    with ground(options=options) as postgres, proxy(postgres.cluster.port) as network:
        url = make_conninfo(postgres.by_way_of(network.port), **words)
        with serving(url, **settings) as service:
            yield Scene(postgres, network, service.url)
