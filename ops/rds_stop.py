"""Stop the database's instance on Amazon RDS, to pay for storage only. AWS starts it again after 7 days."""

from datetime import UTC, datetime, timedelta

from ops.command import run
from ops.rds import argument_parser, client, describe_instance, translate_aws_errors

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html
MAX_STOPPED = timedelta(days=7)


@translate_aws_errors()
def main() -> None:
    """Run the command."""
    name = argument_parser("bin/rds-stop", __doc__).parse_args().name
    rds = client("rds")
    status = describe_instance(rds, name)["DBInstanceStatus"]
    if status in {"stopped", "stopping"}:
        print(f"{name} is {status} already")
    else:
        rds.stop_db_instance(DBInstanceIdentifier=name)
        restart = datetime.now(UTC) + MAX_STOPPED
        print(f"{name} is stopping; its storage and backups still cost money")
        print(f"AWS starts it again by itself after 7 days, on {restart:%Y-%m-%d}: stop it again then, or delete it")


if __name__ == "__main__":
    run(main)
