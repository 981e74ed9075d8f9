"""Delete the database's instance on Amazon RDS, after a final snapshot. The operator must type its name."""

import sys
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import Response, argument_parser, client, describe_instance, translate_aws_errors


def delete(rds: Any, args: Namespace) -> None:
    """Delete the instance. Raises `CommandError` when it is protected, or the operator did not confirm."""
    instance = describe_instance(rds, args.name)
    refuse_protected(instance, args)
    confirm(args.name, rds.meta.region_name, args.confirm)
    if instance["DeletionProtection"]:
        rds.modify_db_instance(DBInstanceIdentifier=args.name, DeletionProtection=False, ApplyImmediately=True)
        print(f"{args.name} is no longer protected from deletion")
    snapshot = f"{args.name}-final-{datetime.now(UTC):%Y%m%dt%H%M%S}"
    rds.delete_db_instance(
        DBInstanceIdentifier=args.name,
        SkipFinalSnapshot=False,
        FinalDBSnapshotIdentifier=snapshot,
        # AWS deletes them at the end of their retention.
        DeleteAutomatedBackups=False,
    )
    print(f"{args.name} is being deleted, and its master password with it")
    print(f"its data remain, and cost money: in the snapshot {snapshot} until you delete that,")
    print(f"in automated backups for {instance['BackupRetentionPeriod']} days, and in CloudWatch's logs")


def refuse_protected(instance: Response, args: Namespace) -> None:
    """Refuse a protected instance without `--remove-protection`, by a `CommandError`."""
    if instance["DeletionProtection"] and not args.remove_protection:
        raise CommandError(
            f"{args.name} is protected from deletion, and nothing was done: "
            f"bin/rds-delete {args.name} --remove-protection removes the protection first"
        )


def confirm(name: str, region: str, typed: str | None) -> None:
    """Require the instance's name: from `typed`, or from standard input. Raises `CommandError`."""
    if typed is None:
        print(f"This deletes the instance {name} in {region}, with every database in it.", file=sys.stderr)
        print("Type the instance's name in full to go on:", file=sys.stderr, flush=True)
        typed = sys.stdin.readline().strip()
    if typed != name:
        raise CommandError(f"nothing was done: the name typed is not {name}")


@translate_aws_errors()
def main() -> None:
    """Run the command."""
    parser = argument_parser("bin/rds-delete", __doc__)
    parser.add_argument("--remove-protection", action="store_true", help="also delete a protected instance")
    parser.add_argument("--confirm", metavar="NAME", help="the instance's name, instead of typing it when asked")
    delete(client("rds"), parser.parse_args())


if __name__ == "__main__":
    run(main)
