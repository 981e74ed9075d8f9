"""AWS on this machine: moto, which accepts nearly everything and reports its requests. The access keys are invalid."""

import base64
import json
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from urllib.request import Request, urlopen

from botocore.config import Config
from botocore.session import Session

from harness.ports import free_port, is_listening
from harness.processes import launch
from harness.waiting import wait_until
from ops.command import ROOT

SERVER = ROOT / ".venv" / "bin" / "moto_server"
REGION = "eu-west-1"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}
# Where AWS's settings and credentials could come from besides: none of it is this machine's.
ALONE = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Aws:
    """A moto server, and what it was asked."""

    url: str
    recording: Path

    @property
    def settings(self) -> dict[str, str]:
        """The settings by which a script finds it."""
        return {**KEYS, **ALONE, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": self.url}

    @cache  # noqa: B019 - there is one of us a run
    def client(self, service: str) -> Any:
        """Return a client of the tests' own."""
        return Session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            config=Config(connect_timeout=5, read_timeout=30),
        )

    def tell(self, what: str, body: bytes = b"") -> None:
        """Call moto's own API."""
        request = Request(f"{self.url}/moto-api/{what}", body, {"Content-Type": "text/plain"}, method="POST")
        urlopen(request).close()

    def reset(self) -> None:
        """Reset all resources and records, and begin to record requests."""
        for what in ("reset", "recorder/reset-recording", "recorder/start-recording"):
            self.tell(what)

    def bodies(self) -> list[str]:
        """Return the body of each call since the last reset."""
        return [base64.b64decode(json.loads(line)["body"]).decode() for line in self.recording.read_text().splitlines()]

    def asked(self, action: str) -> list[dict[str, str]]:
        """Return the parameters of each call of `action` since the last reset."""
        return [call for call in map(dict, map(parse_qsl, self.bodies())) if call.get("Action") == action]


@contextmanager
def moto(folder: Path) -> Iterator[Aws]:
    """Run AWS while this lasts, and record its requests in `folder`."""
    recording, port = folder / "asked", free_port()
    environ = {"PATH": os.environ["PATH"], "MOTO_RECORDER_FILEPATH": str(recording), **ALONE}
    with (
        (folder / "log").open("w") as log,
        launch([SERVER, "-H", "127.0.0.1", "-p", port], env=environ, stdout=log) as server,
    ):
        try:
            wait_until(lambda: is_listening(port))
            yield Aws(f"http://127.0.0.1:{port}", recording)
        finally:
            server.terminate()


NAME = "cruddur-db-instance"
# The arguments of bin/rds-create without options.
ARGUMENTS = Namespace(
    name=NAME,
    dev=False,
    postgres="18",
    instance_class="db.t4g.micro",
    subnet_group=None,
    zone=None,
    backup_days=None,
    log_days=30,
)


def instance(aws: Aws, name: str = NAME) -> Any:
    """Return an instance as AWS describes it."""
    (found,) = aws.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    return found


def group(aws: Aws, *addresses: str) -> str:
    """Create a security group that lets in some addresses. Return its id."""
    ec2 = aws.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    made = str(ec2.create_security_group(GroupName=f"g{addresses}", Description="a test's", VpcId=vpc)["GroupId"])
    for address in addresses:
        ranges = {"Ipv6Ranges": [{"CidrIpv6": address}]} if ":" in address else {"IpRanges": [{"CidrIp": address}]}
        rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, **ranges}
        ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[rule])
    return made
