"""The service's CloudFormation template: requirements beyond those of cfn-lint and Control Tower's rules."""

import json
import logging
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from unittest.mock import patch

import pytest
from cfnlint.decode import cfn_yaml

from lib.logs import JSONFormatter
from lib.pool import THREADS
from lib.purge import Purge, Purged
from ops.command import ROOT
from serve import DESCRIPTORS, STOP_SECONDS
from tests.aws import ALONE, KEYS
from tests.clock import Clock
from tests.compose import config
from tests.settings import load
from tests.templates import (
    GIVEN,
    OPTIONAL,
    SECRET,
    TEMPLATES,
    Template,
    planted,
    properties,
    resolved,
    resources,
    template,
)

pytestmark = pytest.mark.slow

NGINX = (ROOT / "nginx" / "cruddur.conf.template").read_text()
NGINX_IMAGE = (ROOT / "nginx" / "Dockerfile").read_text()
# CreateStack takes a template of this size at most from a command line.
MAX_TEMPLATE_BYTES = 51_200
# ECS allows a container this time at most.
MAX_STOP_SECONDS = 120


@pytest.fixture
def service() -> Template:
    """Load the template."""
    return template("service.yaml")


def decided(service: Template, **others: str) -> Template:
    """Return the template with its functions read, with the least parameters and these."""
    return resolved(service, **(GIVEN | others))


def containers(service: Template, **others: str) -> dict[str, dict[str, Any]]:
    """Return the containers of a task of the service, by name."""
    definitions = properties(decided(service, **others), "Task")["ContainerDefinitions"]
    return {each["Name"]: each for each in definitions}


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return a container's variables."""
    return {each["Name"]: str(each["Value"]) for each in container["Environment"]}


def attributes(resource: dict[str, Any], kind: str) -> dict[str, str]:
    """Return the attributes of a load balancer or a target group."""
    return {each["Key"]: each["Value"] for each in resource[f"{kind}Attributes"]}


def directive(name: str, block: str = "server {") -> int:
    """Return the seconds of a directive in a block of nginx's configuration."""
    (seconds,) = re.findall(rf"^ +{name} (\d+)s;", NGINX.split(f"\n{block}")[1].split("\n}")[0], re.MULTILINE)
    return int(seconds)


def accepts(service: Template, parameter: str, value: str) -> bool:
    """Return whether a parameter accepts this value."""
    return re.fullmatch(service["Parameters"][parameter]["AllowedPattern"], value) is not None


def test_template_fits_the_size_limit() -> None:
    assert (TEMPLATES / "service.yaml").stat().st_size < MAX_TEMPLATE_BYTES


def test_outputs_of_the_other_stacks_have_the_parameters_form(service: Template) -> None:
    outputs = template("database.yaml")["Outputs"]
    values = GIVEN | {"ReadConnectionUrl": GIVEN["ServiceConnectionUrl"]}

    for name in ("ServiceConnectionUrl", "ReadConnectionUrl", "ProdConnectionUrl"):
        url = re.sub(
            r"\$\{\w+\.Endpoint\.Address\}", "db.abc.eu-west-1.rds.amazonaws.com", outputs[name]["Value"]["Fn::Sub"]
        )
        assert accepts(service, name, url)
        assert url == values[name]
        for other in (
            url.replace("verify-full", "require"),
            f"{url}&options=x",
            url.replace("@", ":secret@"),
            f"{url}\n",
        ):
            assert not accepts(service, name, other)
    assert {"ServicePolicyArn", "ServiceSecurityGroupId", "OwnerSecretArn", "OwnerKeyArn"} <= outputs.keys()
    assert {"UserPoolId", "UserPoolClientId", "Domain"} <= template("sign-in.yaml")["Outputs"].keys()


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("FrontendUrl", ["https://a.example", "https://a.example,https://b:8443"], ["", "http://a", "https://a/", "*"]),
        ("Version", ["", "1.2.0", "a" * 64], ["-1", "1 2", "a" * 65, "1:2", "1/2", "1\n"]),
        ("MigrationVersion", ["1.2.0"], ["", "a" * 65]),
        ("Repository", ["cruddur", "team/cruddur"], ["", "Cruddur", "cruddur:1", "a//b", "*"]),
        ("HoneycombSecretArn", ["", SECRET], ["*", "secret", SECRET.replace("123456789012", "*")]),
        (
            "OwnerSecretArn",
            [GIVEN["OwnerSecretArn"]],
            ["", "*", SECRET.replace("honeycomb", "*")],
        ),
        ("OwnerKeyArn", [GIVEN["OwnerKeyArn"]], ["", "*", "arn:aws:kms:eu-west-1:123456789012:key/*"]),
        ("ServicePolicyArn", [GIVEN["ServicePolicyArn"]], ["arn:aws:iam::aws:policy/AdministratorAccess", "*"]),
        ("TracedShare", ["0", "0.1", "1"], ["", "2", "1.1", "10 %"]),
        ("RedisSecurityGroupId", ["sg-0a1b2c3d"], ["", "sg-*"]),
        ("AlarmEmail", ["", "ops@cruddur.example"], ["ops", "a b@c"]),
    ],
)
def test_parameter_accepts_its_form_alone(service: Template, parameter: str, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if not accepts(service, parameter, value)] == []
    assert [value for value in bad if accepts(service, parameter, value)] == []


def rule_allows(service: Template, chosen: str, value: str, limited: str) -> list[str]:
    """Return the values that the rules allow for one parameter, where another has a value."""
    allowed = service["Parameters"][limited]["AllowedValues"]
    for rule in service["Rules"].values():
        if rule.get("RuleCondition") == {"Fn::Equals": [{"Ref": chosen}, value]}:
            ((within, parameter),) = (each["Assert"]["Fn::Contains"] for each in rule["Assertions"])
            assert parameter == {"Ref": limited}
            allowed = [each for each in allowed if each in within]
    return list(allowed)


@pytest.mark.parametrize(
    ("option", "default", "companion", "missing"),
    [
        ("RedisHost", "", "RedisSecurityGroupId", "sg-00000000"),
        ("HoneycombSecretArn", "", "CollectorVersion", ""),
        ("VpcEndpoints", "false", "RouteTableIds", ""),
    ],
)
def test_option_demands_its_companion(
    service: Template, option: str, default: str, companion: str, missing: str
) -> None:
    parameters = service["Parameters"]
    assert (parameters[option]["Default"], parameters[companion]["Default"]) == (default, missing)
    is_switch = "AllowedValues" in parameters[option]
    unset = {"Fn::Equals": [{"Ref": option}, default]}
    chosen = {"Fn::Equals": [{"Ref": option}, "true"]} if is_switch else {"Fn::Not": [unset]}
    comparison = "Fn::EachMemberEquals" if parameters[companion]["Type"] == "CommaDelimitedList" else "Fn::Equals"
    (rule,) = (rule for rule in service["Rules"].values() if rule.get("RuleCondition") == chosen)
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{comparison: [{"Ref": companion}, missing]}]}


# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
@pytest.mark.parametrize(("cpu", "least", "most"), [("512", 1024, 4096), ("1024", 2048, 8192), ("2048", 4096, 16384)])
def test_memory_suits_the_processor(service: Template, cpu: str, least: int, most: int) -> None:
    sizes = service["Parameters"]["TaskMemory"]["AllowedValues"]

    assert rule_allows(service, "TaskCpu", cpu, "TaskMemory") == [size for size in sizes if least <= int(size) <= most]
    defaults = {name: service["Parameters"][name]["Default"] for name in ("TaskCpu", "TaskMemory")}
    assert defaults["TaskMemory"] in rule_allows(service, "TaskCpu", defaults["TaskCpu"], "TaskMemory")


def connections(memory_gib: str) -> int:
    """Return how many connections RDS has for the service, with an instance class of so much memory.

    RDS allows LEAST(DBInstanceClassMemory / 9531392, 5000). A small class has but 0.7 of its memory for Postgres.
    Others have 3 for superusers, 2 for RDS, and 5 for the migration, an operator and the Lambda.
    """
    return int(int(memory_gib) * 2**30 * 0.7 / 9_531_392) - 10


@pytest.mark.parametrize("memory", ["1", "2", "4"])
def test_tasks_and_a_deployment_have_connections(service: Template, memory: str) -> None:
    deployment = properties(service, "Service")["DeploymentConfiguration"]
    workers = int(environment(containers(service)["backend"])["WEB_CONCURRENCY"])
    allowed = [int(number) for number in rule_allows(service, "DatabaseMemory", memory, "MaxTasks")]

    def needed(tasks: int) -> int:
        """Return the connections of all tasks while a deployment replaces them, as `check_database` counts them."""
        return tasks * int(deployment["MaximumPercent"]) // 100 * workers * (THREADS + 2)

    assert needed(max(allowed)) <= connections(memory)
    beyond = [int(each) for each in service["Parameters"]["MaxTasks"]["AllowedValues"] if int(each) not in allowed]
    assert all(needed(number) > connections(memory) for number in beyond)
    alarm = service["Mappings"]["Connections"]["Alarm"][memory]
    assert alarm == connections(memory) * 4 // 5
    # A deployment at half of the most tasks raises no alarm.
    assert needed(max(allowed) // 2) < alarm


def test_scaling_keeps_two_tasks_and_follows_the_requests(service: Template) -> None:
    tasks = properties(decided(service), "Tasks")
    policy = properties(decided(service), "Scaling")["TargetTrackingScalingPolicyConfiguration"]
    run = properties(service, "Service")

    assert (int(tasks["MinCapacity"]), int(tasks["MaxCapacity"])) == (2, 3)
    assert max(service["Parameters"]["MinTasks"]["AllowedValues"]) <= min(
        int(each) for each in service["Parameters"]["MaxTasks"]["AllowedValues"]
    )
    assert "DesiredCount" not in run
    assert run["AvailabilityZoneRebalancing"] == "ENABLED"
    assert policy["PredefinedMetricSpecification"]["PredefinedMetricType"] == "ALBRequestCountPerTarget"
    # A profile's CPU time in docs/performance.md, a tenth of them traced, says how many requests a processor can do.
    text = (ROOT / "docs" / "performance.md").read_text().split("### Profiles")[1]
    row = re.search(r"^\| Cruddur +\| 10 % traced +\| 16 +(?:\| [\d.,]+ +){3}\| (\d+) ", text, re.MULTILINE)
    assert row
    for cpu, target in service["Mappings"]["Requests"]["PerMinute"].items():
        peak = int(cpu) / 1024 * 60e6 / int(row[1])
        assert 0.15 * peak < target < 0.35 * peak


def test_load_balancer_serves_tls_alone(service: Template) -> None:
    http, https = properties(service, "HttpListener"), properties(service, "HttpsListener")
    (redirect,) = http["DefaultActions"]
    found = attributes(properties(service, "LoadBalancer"), "LoadBalancer")

    assert (http["Port"], redirect["Type"], redirect["RedirectConfig"]["Protocol"]) == (80, "redirect", "HTTPS")
    assert (https["Port"], https["Protocol"]) == (443, "HTTPS")
    assert https["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2-")
    assert {each["Key"]: each["Value"] for each in https["ListenerAttributes"]} == {
        "routing.http.response.strict_transport_security.header_value": "max-age=31536000"
    }
    # nginx has the same header where TLS ends there.
    assert 'on "max-age=31536000";' in NGINX
    assert found["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert found["deletion_protection.enabled"] == "true"
    assert found["routing.http.xff_header_processing.mode"] == "append"


def test_idle_connections_are_closed_by_the_client_s_side_first(service: Template) -> None:
    balancer = attributes(properties(service, "LoadBalancer"), "LoadBalancer")
    backend = environment(containers(service)["backend"])

    idle = int(balancer["idle_timeout.timeout_seconds"])
    assert idle < directive("keepalive_timeout")
    # A response that nginx still waits for is no idle connection.
    assert idle > directive("proxy_read_timeout")
    assert directive("keepalive_timeout", "upstream backend {") < int(backend["IDLE_TIMEOUT_SECONDS"])


def test_outage_of_the_database_replaces_no_task(service: Template) -> None:
    assert properties(service, "TargetGroup")["HealthCheckPath"] == "/livez"
    for container in containers(service, **OPTIONAL).values():
        command = " ".join(container.get("HealthCheck", {}).get("Command", []))
        assert "readyz" not in command
        assert "/livez" in command or container["Name"] == "collector"
    assert "/readyz" not in json.dumps(service)


def test_failed_deployment_goes_back(service: Template) -> None:
    deployment = properties(service, "Service")["DeploymentConfiguration"]
    task = containers(service)

    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 150)
    # bin/serve checks the database before it listens, and nginx starts after the backend's first response.
    assert task["nginx"]["DependsOn"] == [{"ContainerName": "backend", "Condition": "HEALTHY"}]
    assert all(task[name]["Essential"] for name in ("nginx", "backend"))


def test_a_stop_leaves_time_for_every_request(service: Template) -> None:
    task = containers(service, **OPTIONAL)
    group = attributes(properties(service, "TargetGroup"), "TargetGroup")
    longest = directive("proxy_read_timeout") + directive("client_body_timeout")

    # ECS stops the containers in the opposite order of their start.
    assert task["backend"]["DependsOn"] == [{"ContainerName": "collector", "Condition": "START"}]
    assert int(group["deregistration_delay.timeout_seconds"]) >= longest
    assert task["nginx"]["StopTimeout"] >= longest
    # The last second is for the export of pending spans.
    assert task["backend"]["StopTimeout"] > STOP_SECONDS + 1
    # Nothing reaches the backend once nginx has ended.
    assert environment(task["backend"])["DRAIN_SECONDS"] == "0"
    assert environment(task["backend"])["HOST"] == "127.0.0.1"
    assert max(container["StopTimeout"] for container in task.values()) <= MAX_STOP_SECONDS
    assert f"STOPSIGNAL {config()['services']['nginx']['stop_signal']}\n" in NGINX_IMAGE


def test_containers_are_unprivileged_and_read_only(service: Template) -> None:
    task = containers(service, **OPTIONAL)
    (migration,) = properties(decided(service), "MigrationTask")["ContainerDefinitions"]

    assert task.keys() == {"nginx", "backend", "collector"}
    for container in (*task.values(), migration):
        assert container["ReadonlyRootFilesystem"] is True
        assert container["LinuxParameters"] == {"InitProcessEnabled": True, "Capabilities": {"Drop": ["ALL"]}}
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", container["User"])
        assert "Privileged" not in container
    dockerfile = (ROOT / "backend-flask" / "Dockerfile").read_text()
    assert f"\nUSER {task['backend']['User']}\n" in dockerfile
    assert migration["User"] == task["backend"]["User"]
    assert f"\nUSER {task['nginx']['User']}\n" in NGINX_IMAGE
    # bin/serve raises the soft limit itself.
    assert {each["HardLimit"] for name in ("nginx", "backend") for each in task[name]["Ulimits"]} == {2 * DESCRIPTORS}


def test_nginx_image_is_that_of_compose_and_owns_its_volumes(service: Template) -> None:
    nginx = config()["services"]["nginx"]
    mounts = containers(service)["nginx"]["MountPoints"]
    paths = {mount["ContainerPath"] for mount in mounts}

    assert f"\nFROM {nginx['image']}\n" in NGINX_IMAGE
    assert nginx["user"] == containers(service)["nginx"]["User"]
    volumes = re.findall(r"^VOLUME (\[.*\])$", NGINX_IMAGE, re.MULTILINE)
    assert set(json.loads(volumes[0])) == paths
    assert set(re.findall(r"^RUN chown -R 101:101 (.*)$", NGINX_IMAGE, re.MULTILINE)[0].split()) == paths
    assert [mount["SourceVolume"] for mount in mounts] == [
        each["Name"] for each in properties(service, "Task")["Volumes"]
    ]
    copied = re.findall(r"^COPY (\S+) /etc/nginx/templates/\S+$", NGINX_IMAGE, re.MULTILINE)
    assert set(copied) == {path.name for path in (ROOT / "nginx").glob("*.template")}
    # Compose's nginx has clients in front, who must not choose their own address.
    assert [mount["source"].rpartition("/")[2] for mount in nginx["volumes"]] == ["cruddur.conf.template"]


@pytest.mark.parametrize("optional", [{}, OPTIONAL], ids=["least", "all"])
def test_service_starts_with_the_settings_of_its_task(service: Template, optional: dict[str, str]) -> None:
    variables = environment(containers(service, **optional)["backend"])
    loaded = load(**variables)

    assert (loaded.database_auth, loaded.trusted_proxies, loaded.workers) == ("iam", 1, 2)
    assert (loaded.read_connection_url is None, loaded.traces_exporter) == (
        (False, "otlp") if optional else (True, "none")
    )
    assert (loaded.sign_in.kind, loaded.sign_in.domain) == ("cognito", GIVEN["Domain"])
    assert loaded.backup_retention >= template("database.yaml")["Parameters"]["BackupRetentionDays"]["Default"]
    with patch.dict(os.environ, KEYS | ALONE):
        assert "sslrootcert=/srv/cruddur/backend-flask/rds-ca.pem" in loaded.conninfo()()
        assert not optional or "replica" in loaded.read_conninfo()()
    if optional:
        assert loaded.rate_limit_storage_url == "rediss://redis.example:6379/0"
    assert [name for name in variables if re.search("PASSWORD|SECRET|HEADERS|KEY", name)] == []


def test_rds_certificates_are_a_file_of_the_image(service: Template) -> None:
    dockerfile = (ROOT / "backend-flask" / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    (path,) = set(re.findall(r"sslrootcert=([^\"}\s]+)", json.dumps(service)))

    folder, name = path.rsplit("/", 1)
    assert (folder, "WORKDIR /srv/cruddur", "COPY backend-flask backend-flask") == (
        "/srv/cruddur/backend-flask",
        *re.findall("^(?:WORKDIR /srv/cruddur|COPY backend-flask backend-flask)$", dockerfile, re.MULTILINE)[1:],
    )
    assert ignored.index(f"!backend-flask/{name}") > ignored.index("**/*.pem")
    assert f"/backend-flask/{name}" in (ROOT / ".gitignore").read_text().splitlines()


def test_collector_sends_to_honeycomb_with_the_key_of_the_secret(service: Template) -> None:
    collector = containers(service, **OPTIONAL)["collector"]
    settings = cfn_yaml.loads(environment(collector)["COLLECTOR"])

    assert "collector" not in containers(service)
    assert collector["Essential"] is False
    assert collector["Secrets"] == [{"Name": "HONEYCOMB_KEY", "ValueFrom": SECRET}]
    exporter = settings["exporters"]["otlphttp"]
    assert exporter["endpoint"] == "https://api.eu1.honeycomb.io"
    assert exporter["headers"] == {"x-honeycomb-team": "${env:HONEYCOMB_KEY}"}
    endpoint = environment(containers(service, **OPTIONAL)["backend"])["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == f"http://{settings['receivers']['otlp']['protocols']['http']['endpoint']}"
    limit = settings["processors"]["memory_limiter"]
    assert limit["limit_mib"] + limit["spike_limit_mib"] < collector["Memory"]
    for pipeline in ("traces", "metrics"):
        # The first processor must be the one that refuses.
        assert settings["service"]["pipelines"][pipeline]["processors"] == ["memory_limiter", "batch"]


def allowed(role: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the statements of a role's own policies by their id."""
    policies = role.get("Policies", [])
    return {each["Sid"]: each for policy in policies for each in policy["PolicyDocument"]["Statement"]}


def test_roles_allow_what_is_used(service: Template) -> None:
    observed = decided(service, **OPTIONAL)
    task, execution = properties(observed, "TaskRole"), properties(observed, "ExecutionRole")
    migration = properties(observed, "MigrationExecutionRole")
    repository = "arn:aws:ecr:eu-west-1:123456789012:repository/cruddur"

    assert (task["ManagedPolicyArns"], "Policies" in task) == ([GIVEN["ServicePolicyArn"]], False)
    for role in (execution, migration):
        statements = allowed(role)
        assert "ManagedPolicyArns" not in role
        assert [each for each in statements.values() if "*" in str(each["Action"])] == []
        assert [sid for sid, each in statements.items() if each["Resource"] == "*"] == ["ToSignIn"]
        assert statements["ToSignIn"]["Action"] == "ecr:GetAuthorizationToken"
        assert (statements["Images"]["Resource"], statements["Log"]["Resource"]) == (repository, "Log.Arn")
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    assert allowed(execution).keys() == {"ToSignIn", "Images", "Log", "HoneycombKey"}
    assert (allowed(execution)["HoneycombKey"]["Effect"], allowed(execution)["HoneycombKey"]["Resource"]) == (
        "Allow",
        SECRET,
    )
    assert allowed(properties(decided(service), "ExecutionRole"))["HoneycombKey"]["Effect"] == "Deny"


def test_migration_alone_reads_the_owners_password(service: Template) -> None:
    observed = decided(service, **OPTIONAL)
    readers = [name for name, each in observed["Resources"].items() if GIVEN["OwnerSecretArn"] in json.dumps(each)]
    (migration,) = properties(observed, "MigrationTask")["ContainerDefinitions"]
    role = allowed(properties(observed, "MigrationExecutionRole"))

    assert readers == ["MigrationExecutionRole", "MigrationTask"]
    assert migration["Secrets"] == [{"Name": "PGPASSWORD", "ValueFrom": f"{GIVEN['OwnerSecretArn']}:password::"}]
    assert migration["Command"] == ["bash", "-ec", "bin/db-create prod --iam; bin/db-migrate prod"]
    assert environment(migration).keys() == {"PROD_CONNECTION_URL"}
    assert environment(migration)["PROD_CONNECTION_URL"].startswith(GIVEN["ProdConnectionUrl"])
    assert "TaskRoleArn" not in properties(observed, "MigrationTask")
    assert role["KeyOfThatSecret"]["Resource"] == GIVEN["OwnerKeyArn"]
    assert role["KeyOfThatSecret"]["Condition"]["StringEquals"] == {
        "kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"
    }


def test_migration_can_run_before_there_is_a_service(service: Template) -> None:
    before = decided(service, Version="")
    kinds = {resource["Type"] for resource in before["Resources"].values()}

    assert "MigrationTask" in before["Resources"]
    assert not {"Task", "Service", "Tasks", "Scaling"} & before["Resources"].keys()
    assert {"AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::ECS::Cluster"} <= kinds
    images = [
        properties(decided(service, MigrationVersion="2"), name)["ContainerDefinitions"][-1]["Image"]
        for name in ("MigrationTask", "Task")
    ]
    registry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    assert images == [f"{registry}/cruddur:backend-2", f"{registry}/cruddur:backend-1.2.0"]


def ways_out(service: Template, group: str) -> set[tuple[Any, ...]]:
    """Return where a security group lets its members connect to: the port, and the address or the group."""
    rules = properties(service, group)["SecurityGroupEgress"]
    rules += [rule for rule in resources(service, "AWS::EC2::SecurityGroupEgress").values() if rule["GroupId"] == group]
    ports = [(rule.get("FromPort"), rule.get("ToPort")) for rule in rules]
    places = [rule.get("CidrIp") or rule["DestinationSecurityGroupId"] for rule in rules]
    return {(*port, place) for port, place in zip(ports, places, strict=True)}


def test_tasks_reach_https_the_database_and_the_redis_alone(service: Template) -> None:
    https = (443, 443, "0.0.0.0/0")
    groups = properties(decided(service), "Service")["NetworkConfiguration"]["AwsvpcConfiguration"]

    assert ways_out(decided(service), "TaskSecurityGroup") == {https}
    assert ways_out(decided(service, **OPTIONAL), "TaskSecurityGroup") == {https, (6379, 6379, "sg-4e5f6a7b")}
    # The second group is the database's, and reaches nothing else.
    assert groups["SecurityGroups"] == ["TaskSecurityGroup", GIVEN["ServiceSecurityGroupId"]]
    (there,) = properties(template("database.yaml"), "ServiceSecurityGroup")["SecurityGroupEgress"]
    assert (there["FromPort"], there["ToPort"], there["DestinationSecurityGroupId"]) == (
        5432,
        5432,
        {"Ref": "SecurityGroup"},
    )
    assert groups["AssignPublicIp"] == "DISABLED"
    assert groups["Subnets"] == GIVEN["PrivateSubnetIds"]
    redis = properties(decided(service, **OPTIONAL), "RedisRule")
    assert (redis["GroupId"], redis["FromPort"], redis["SourceSecurityGroupId"]) == (
        "sg-4e5f6a7b",
        6379,
        "TaskSecurityGroup",
    )


def test_only_the_load_balancer_reaches_the_tasks(service: Template) -> None:
    found = decided(service)
    (way_in,) = properties(found, "TaskSecurityGroup")["SecurityGroupIngress"]
    public = properties(found, "LoadBalancerSecurityGroup")["SecurityGroupIngress"]
    port = int(environment(containers(service)["nginx"])["LISTEN"])

    assert (way_in["FromPort"], way_in["ToPort"]) == (port, port)
    assert way_in["SourceSecurityGroupId"] == "LoadBalancerSecurityGroup"
    assert "CidrIp" not in way_in
    assert {(rule["FromPort"], rule["ToPort"], rule["CidrIp"]) for rule in public} == {
        (443, 443, "0.0.0.0/0"),
        (80, 80, "0.0.0.0/0"),
    }
    assert ways_out(found, "LoadBalancerSecurityGroup") == {
        (None, None, "127.0.0.1/32"),
        (port, port, "TaskSecurityGroup"),
    }
    assert [name for name in resources(found, "AWS::EC2::SecurityGroupIngress") if name != "RedisRule"] == []
    assert properties(found, "TargetGroup")["Port"] == port


def test_vpc_endpoints_are_made_on_demand_for_the_tasks(service: Template) -> None:
    kind = "AWS::EC2::VPCEndpoint"
    made = resources(decided(service, VpcEndpoints="true"), kind)

    assert resources(decided(service), kind) == {}
    assert {each["ServiceName"].removeprefix("com.amazonaws.eu-west-1.") for each in made.values()} == {
        *("ecr.api", "ecr.dkr", "logs", "secretsmanager", "s3")
    }
    private = [each for each in made.values() if each["VpcEndpointType"] == "Interface"]
    assert all(each["PrivateDnsEnabled"] and each["SecurityGroupIds"] == ["EndpointSecurityGroup"] for each in private)
    (rule,) = properties(decided(service, VpcEndpoints="true"), "EndpointSecurityGroup")["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["SourceSecurityGroupId"]) == (443, "TaskSecurityGroup")


def test_logs_are_encrypted_and_end_with_the_longest_ttl(service: Template) -> None:
    log, parameter = properties(service, "Log"), service["Parameters"]["LogRetentionDays"]
    tasks = [properties(decided(service, **OPTIONAL), name) for name in ("Task", "MigrationTask")]

    assert log["KmsKeyId"] == {"Fn::GetAtt": ["Key", "Arn"]}
    assert log["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert (parameter["Default"], max(parameter["AllowedValues"])) == (30, 30)
    for container in (each for task in tasks for each in task["ContainerDefinitions"]):
        options = container["LogConfiguration"]["Options"]
        assert (options["awslogs-group"], options["awslogs-stream-prefix"]) == ("Log", container["Name"])
    # The key lets this log group use it, and no other.
    assert log["LogGroupName"] == "/cruddur/service"
    statements = properties(decided(service), "Key")["KeyPolicy"]["Statement"]
    (logs,) = (each for each in statements if each["Sid"] == "LogsOfTheService")
    (arn,) = logs["Condition"]["ArnEquals"].values()
    assert arn.endswith(":log-group:/cruddur/service")


def test_alarms_reach_the_topic(service: Template) -> None:
    alarms = resources(decided(service), "AWS::CloudWatch::Alarm")

    assert {alarm["MetricName"] for alarm in alarms.values()} == {
        *("HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count", "TargetResponseTime", "UnHealthyHostCount"),
        *("DatabaseConnections", "LatePurges"),
    }
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["Topic"]
        assert alarm["TreatMissingData"] == "notBreaching"
    assert alarms["Latency"]["ExtendedStatistic"] == "p99"
    instance = properties(template("database.yaml"), "Database")["DBInstanceIdentifier"]
    assert alarms["DatabaseConnections"]["Dimensions"] == [{"Name": "DBInstanceIdentifier", "Value": instance}]
    assert properties(service, "Topic")["KmsMasterKeyId"] == {"Ref": "Key"}
    assert "Mail" not in decided(service)["Resources"]
    assert properties(decided(service, AlarmEmail="a@b.example"), "Mail")["Endpoint"] == "a@b.example"


def test_late_purge_is_counted_from_the_log(
    service: Template, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    late = properties(service, "LatePurges")
    (pattern,) = re.fullmatch(r'\{ \$\.message = "([^"]*)" \}', late["FilterPattern"]).groups()
    monkeypatch.setattr("lib.purge.time", clock := Clock())
    purge = Purge()
    with caplog.at_level(logging.INFO, "cruddur"):
        purge.observe(Purged(0, 0, 0, 0, datetime.now(UTC) - timedelta(minutes=61)))
        clock.now += 3601
        purge.fail(OSError())
    lines = [json.loads(JSONFormatter().format(record))["message"] for record in caplog.records]

    counted = [line for line in lines if fnmatchcase(line, pattern)]
    assert len(counted) == 2
    assert [line for line in lines if line not in counted] == ["the purge failed and is tried again: OSError "]
    (transformation,) = late["MetricTransformations"]
    alarm = properties(service, "OldestExpiredRow")
    assert (alarm["Namespace"], alarm["MetricName"]) == (
        transformation["MetricNamespace"],
        transformation["MetricName"],
    )


BACKEND, NGINX_CONTAINER = "Task.Properties.ContainerDefinitions.1", "Task.Properties.ContainerDefinitions.0"
ANYWHERE = {"Description": "all", "IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}
FAULTS: list[tuple[str, Any, Callable[[Template], None]]] = [
    ("HttpListener.Properties.DefaultActions.0.Type", "forward", test_load_balancer_serves_tls_alone),
    ("HttpsListener.Properties.SslPolicy", "ELBSecurityPolicy-2016-08", test_load_balancer_serves_tls_alone),
    ("HttpsListener.Properties.ListenerAttributes", [], test_load_balancer_serves_tls_alone),
    ("LoadBalancer.Properties.LoadBalancerAttributes.0.Value", "false", test_load_balancer_serves_tls_alone),
    ("LoadBalancer.Properties.LoadBalancerAttributes.1.Value", "false", test_load_balancer_serves_tls_alone),
    ("LoadBalancer.Properties.LoadBalancerAttributes.3.Value", "preserve", test_load_balancer_serves_tls_alone),
    (
        "LoadBalancer.Properties.LoadBalancerAttributes.4.Value",
        "75",
        test_idle_connections_are_closed_by_the_client_s_side_first,
    ),
    (f"{BACKEND}.Environment.13.Value", "60", test_idle_connections_are_closed_by_the_client_s_side_first),
    ("TargetGroup.Properties.HealthCheckPath", "/readyz", test_outage_of_the_database_replaces_no_task),
    (
        f"{BACKEND}.HealthCheck.Command",
        ["CMD", "wget", "http://127.0.0.1:4567/readyz"],
        test_outage_of_the_database_replaces_no_task,
    ),
    (
        "Service.Properties.DeploymentConfiguration.DeploymentCircuitBreaker.Rollback",
        False,
        test_failed_deployment_goes_back,
    ),
    (f"{NGINX_CONTAINER}.DependsOn.0.Condition", "START", test_failed_deployment_goes_back),
    (
        "TargetGroup.Properties.TargetGroupAttributes.0.Value",
        "30",
        test_a_stop_leaves_time_for_every_request,
    ),
    (f"{NGINX_CONTAINER}.StopTimeout", 30, test_a_stop_leaves_time_for_every_request),
    (f"{BACKEND}.StopTimeout", 25, test_a_stop_leaves_time_for_every_request),
    (f"{BACKEND}.ReadonlyRootFilesystem", False, test_containers_are_unprivileged_and_read_only),
    (f"{NGINX_CONTAINER}.User", "0:0", test_containers_are_unprivileged_and_read_only),
    (f"{BACKEND}.LinuxParameters.Capabilities", None, test_containers_are_unprivileged_and_read_only),
    (f"{NGINX_CONTAINER}.MountPoints.2", None, test_nginx_image_is_that_of_compose_and_owns_its_volumes),
    ("ExecutionRole.Properties.ManagedPolicyArns", ["x"], test_roles_allow_what_is_used),
    ("TaskRole.Properties.ManagedPolicyArns", ["x"], test_roles_allow_what_is_used),
    (
        "ExecutionRole.Properties.Policies.0.PolicyDocument.Statement.1.Resource",
        "*",
        test_roles_allow_what_is_used,
    ),
    (
        "ExecutionRole.Properties.Policies.0.PolicyDocument.Statement.3.Resource",
        {"Ref": "OwnerSecretArn"},
        test_migration_alone_reads_the_owners_password,
    ),
    ("Service.Condition", None, test_migration_can_run_before_there_is_a_service),
    (
        "TaskSecurityGroup.Properties.SecurityGroupEgress.0",
        ANYWHERE,
        test_tasks_reach_https_the_database_and_the_redis_alone,
    ),
    (
        "Service.Properties.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups.0",
        None,
        test_tasks_reach_https_the_database_and_the_redis_alone,
    ),
    (
        "Service.Properties.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp",
        "ENABLED",
        test_tasks_reach_https_the_database_and_the_redis_alone,
    ),
    (
        "TaskSecurityGroup.Properties.SecurityGroupIngress.0.CidrIp",
        "0.0.0.0/0",
        test_only_the_load_balancer_reaches_the_tasks,
    ),
    (
        "LoadBalancerSecurityGroup.Properties.SecurityGroupEgress",
        [ANYWHERE],
        test_only_the_load_balancer_reaches_the_tasks,
    ),
    ("Log.Properties.KmsKeyId", None, test_logs_are_encrypted_and_end_with_the_longest_ttl),
    ("Log.Properties.RetentionInDays", 365, test_logs_are_encrypted_and_end_with_the_longest_ttl),
    ("Latency.Properties.AlarmActions", [], test_alarms_reach_the_topic),
    ("DatabaseConnections.Properties.Dimensions.0.Value", "other", test_alarms_reach_the_topic),
    ("Topic.Properties.KmsMasterKeyId", None, test_alarms_reach_the_topic),
    ("Service.Properties.DesiredCount", 2, test_scaling_keeps_two_tasks_and_follows_the_requests),
    ("S3Endpoint.Condition", None, test_vpc_endpoints_are_made_on_demand_for_the_tasks),
]


@pytest.mark.parametrize(("path", "value", "check"), FAULTS)
def test_planted_fault_fails_its_check(
    service: Template, path: str, value: object, check: Callable[[Template], None]
) -> None:
    check(service)
    with pytest.raises((AssertionError, ValueError, KeyError)):
        check(planted(service, path, value))


@pytest.mark.parametrize(("memory", "tasks"), [("1", "4"), ("2", "12")])
def test_more_tasks_than_connections_are_found(service: Template, memory: str, tasks: str) -> None:
    name = {"1": "ConnectionsOfOneGiB", "2": "ConnectionsOfTwoGiB"}[memory]
    rules = json.loads(json.dumps(service["Rules"]))
    rules[name]["Assertions"][0]["Assert"]["Fn::Contains"][0].append(tasks)

    with pytest.raises(AssertionError):
        test_tasks_and_a_deployment_have_connections({**service, "Rules": rules}, memory)
