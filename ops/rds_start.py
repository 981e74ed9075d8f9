"""Start the database's instance on Amazon RDS. It answers some minutes later."""

from ops.command import run
from ops.rds import argument_parser, client, failures, find


@failures()
def main() -> None:
    """Run the command."""
    name = argument_parser("bin/rds-start", __doc__).parse_args().name
    rds = client("rds")
    status = find(rds, name)["DBInstanceStatus"]
    if status in {"available", "starting"}:
        print(f"{name} is {status} already")
        return
    rds.start_db_instance(DBInstanceIdentifier=name)
    print(f"{name} is starting, and is paid for by the hour; bin/rds-status {name} says when it is available")


if __name__ == "__main__":
    run(main)
