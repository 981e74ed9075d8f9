"""Start the database's instance on Amazon RDS, which accepts connections some minutes later."""

from ops.command import run
from ops.rds import argument_parser, client, describe_instance, translate_aws_errors


@translate_aws_errors()
def main() -> None:
    """Run the command."""
    name = argument_parser("bin/rds-start", __doc__).parse_args().name
    rds = client("rds")
    status = describe_instance(rds, name)["DBInstanceStatus"]
    if status in {"available", "starting"}:
        print(f"{name} is {status} already")
        return
    rds.start_db_instance(DBInstanceIdentifier=name)
    print(f"{name} is starting, and costs money by the hour; bin/rds-status {name} shows when it is available")


if __name__ == "__main__":
    run(main)
