"""Stop the database's instance on Amazon RDS, so that it costs its storage alone. AWS starts it again after 7 days."""

from datetime import UTC, datetime, timedelta

from ops.command import run
from ops.rds import argument_parser, client, failures, find

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html
STOPPED = timedelta(days=7)


@failures()
def main() -> None:
    """Run the command."""
    name = argument_parser("bin/rds-stop", __doc__).parse_args().name
    rds = client("rds")
    status = find(rds, name)["DBInstanceStatus"]
    if status in {"stopped", "stopping"}:
        print(f"{name} is {status} already")
    else:
        rds.stop_db_instance(DBInstanceIdentifier=name)
        until = datetime.now(UTC) + STOPPED
        print(f"{name} is stopping; its storage and backups are paid for still")
        print(f"AWS starts it again by itself after 7 days, on {until:%Y-%m-%d}: stop it again then, or delete it")


if __name__ == "__main__":
    run(main)
