"""Tasks of aws/cloudformation/service.yaml on a Docker Engine, run as ECS runs them on Fargate."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from docker import DockerClient
from docker.models.containers import Container
from docker.types import Healthcheck, Ulimit

from harness.waiting import wait_until
from ops.command import ROOT
from tests.templates import GIVEN, properties, resolved, template

NANOSECONDS = 1_000_000_000
PORT = 8080


def definitions(task: str, **parameters: str) -> list[dict[str, Any]]:
    """Return the containers of a task definition."""
    found = properties(resolved(template("service.yaml"), **(GIVEN | parameters)), task)
    return list(found["ContainerDefinitions"])


@contextmanager
def nginx_image(client: DockerClient, tag: str) -> Iterator[str]:
    """Build nginx/Dockerfile, and remove the image at the end."""
    image, _ = client.images.build(path=str(ROOT / "nginx"), tag=tag, rm=True)
    try:
        yield str(image.id)
    finally:
        client.images.remove(image.id, force=True)


@dataclass
class Task:
    """The containers of a task. They share the network of one more container, as those of Fargate do."""

    client: DockerClient
    images: dict[str, str]
    # The name of the engine's network.
    network: str
    # What the engine has in place of AWS, by container: variables and volumes.
    variables: dict[str, dict[str, str]]
    volumes: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    stop_timeouts: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def started(self, containers: list[dict[str, Any]]) -> Iterator["Task"]:
        """Start containers in the order of their dependencies, and remove them at the end."""
        with ExitStack() as stack:
            pause = self.client.containers.run(
                self.images["backend"], ["sleep", "infinity"], detach=True, network=self.network, init=True
            )
            stack.callback(pause.remove, force=True, v=True)
            pause.reload()
            self.address = pause.attrs["NetworkSettings"]["Networks"][self.network]["IPAddress"]
            waiting = list(containers)
            while waiting:
                ready = next(each for each in waiting if self.is_ready(each))
                waiting.remove(ready)
                for volume in self.mounts(ready, pause):
                    stack.callback(self.client.volumes.create(volume).remove)
                created = self.create(ready, pause)
                stack.callback(created.remove, force=True, v=True)
                self.containers[ready["Name"]] = created
                self.stop_timeouts[ready["Name"]] = ready["StopTimeout"]
                created.start()
            yield self

    def mounts(self, definition: dict[str, Any], pause: Container) -> dict[str, dict[str, str]]:
        """Return the volumes of a container, which begin with the content and the owner of the image's folders."""
        return {
            f"{pause.id[:12]}-{each['SourceVolume']}": {"bind": each["ContainerPath"], "mode": "rw"}
            for each in definition.get("MountPoints", [])
        }

    def is_ready(self, definition: dict[str, Any]) -> bool:
        """Return whether the dependencies of a container are started. Wait for those that must be healthy."""
        for dependency in definition.get("DependsOn", []):
            if dependency["ContainerName"] not in self.containers:
                return False
            if dependency["Condition"] == "HEALTHY":
                self.wait_until_healthy(dependency["ContainerName"])
        return True

    def wait_until_healthy(self, name: str) -> None:
        """Wait until the health check of a container succeeds."""
        wait_until(lambda: self.health(name) == "healthy", f"the health of {name}")

    def create(self, definition: dict[str, Any], pause: Container) -> Container:
        """Create a container by its definition, with nothing that Fargate does not give."""
        name = definition["Name"]
        health = definition.get("HealthCheck")
        variables = {each["Name"]: str(each["Value"]) for each in definition["Environment"]}
        return self.client.containers.create(
            self.images[name],
            definition.get("Command"),
            environment=variables | self.variables[name],
            user=definition["User"],
            read_only=definition["ReadonlyRootFilesystem"],
            cap_drop=definition["LinuxParameters"]["Capabilities"]["Drop"],
            init=definition["LinuxParameters"]["InitProcessEnabled"],
            network_mode=f"container:{pause.id}",
            ulimits=[
                Ulimit(name=each["Name"], soft=each["SoftLimit"], hard=each["HardLimit"])
                for each in definition.get("Ulimits", [])
            ],
            volumes=self.mounts(definition, pause) | self.volumes.get(name, {}),
            healthcheck=Healthcheck(
                test=health["Command"] if health else ["NONE"],
                # Fargate's intervals are longer than a test should wait.
                interval=NANOSECONDS,
                timeout=(health or {}).get("Timeout", 0) * NANOSECONDS,
                retries=(health or {}).get("Retries", 0),
                start_period=(health or {}).get("StartPeriod", 0) * NANOSECONDS,
            ),
        )

    def health(self, name: str) -> str:
        """Return the status of a container's health check."""
        self.containers[name].reload()
        return str(self.containers[name].attrs["State"]["Health"]["Status"])

    def stop(self) -> dict[str, tuple[int, float]]:
        """Stop the containers in the opposite order of their start. Return the exit status and the seconds of each."""
        ended = {}
        for name, container in reversed(self.containers.items()):
            begun = time.monotonic()
            # The engine sends the image's stop signal, as Fargate does, and then kills.
            container.stop(timeout=self.stop_timeouts[name])
            container.reload()
            ended[name] = (container.attrs["State"]["ExitCode"], time.monotonic() - begun)
        return ended

    def status(self, name: str) -> int:
        """Wait for a container's end. Return its exit status."""
        return int(self.containers[name].wait(timeout=60)["StatusCode"])

    def log(self, name: str) -> str:
        """Return what a container has written."""
        return str(self.containers[name].logs().decode())
