"""Delete the database's instance on Amazon RDS, after a last snapshot, once its name was typed in full."""

import sys
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from lib.command_errors import CommandError
from ops.command import run
from ops.rds import Answer, argument_parser, client, failures, find


def delete(rds: Any, args: Namespace) -> None:
    """Delete it. Raises `CommandError` when it is protected, or its name had to be typed and was not."""
    instance = find(rds, args.name)
    refuse_protected(instance, args)
    confirm(args.name, rds.meta.region_name, args.confirm)
    if instance["DeletionProtection"]:
        rds.modify_db_instance(DBInstanceIdentifier=args.name, DeletionProtection=False, ApplyImmediately=True)
        print(f"{args.name} is protected from deletion no more")
    snapshot = f"{args.name}-final-{datetime.now(UTC):%Y%m%dt%H%M%S}"
    rds.delete_db_instance(
        DBInstanceIdentifier=args.name,
        SkipFinalSnapshot=False,
        FinalDBSnapshotIdentifier=snapshot,
        # They go by themselves when their days are over.
        DeleteAutomatedBackups=False,
    )
    print(f"{args.name} is being deleted, and its master password with it")
    print(f"what was in it stays, and is paid for: in the snapshot {snapshot} until somebody deletes that,")
    print(f"in its automated backups for {instance['BackupRetentionPeriod']} days, and in CloudWatch what it logged")


def refuse_protected(instance: Answer, args: Namespace) -> None:
    """Raises `CommandError` when the instance is protected and nobody has asked to take the protection away."""
    if instance["DeletionProtection"] and not args.remove_protection:
        raise CommandError(
            f"{args.name} is protected from deletion, and nothing was done: "
            f"bin/rds-delete {args.name} --remove-protection takes the protection away first"
        )


def confirm(name: str, region: str, typed: str | None) -> None:
    """Go on when the name was typed. Raises `CommandError`."""
    if typed is None:
        print(f"This deletes the instance {name} in {region}, with every database in it.", file=sys.stderr)
        print("Type the instance's name in full to go on:", file=sys.stderr, flush=True)
        typed = sys.stdin.readline().strip()
    if typed != name:
        raise CommandError(f"nothing was done: the name typed is not {name}")


@failures()
def main() -> None:
    """Run the command."""
    parser = argument_parser("bin/rds-delete", __doc__)
    parser.add_argument("--remove-protection", action="store_true", help="also if it is protected from deletion")
    parser.add_argument("--confirm", metavar="NAME", help="the instance's name, instead of typing it when asked")
    delete(client("rds"), parser.parse_args())


if __name__ == "__main__":
    run(main)
