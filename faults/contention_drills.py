"""The drills in which others hold what the service wants of a Postgres that is well: locks and slots."""

from functools import partial

from faults.drill import Drill
from faults.no_slot_left import no_slot_left
from faults.statement_timeout import statement_timeout
from faults.waiting_alter import waiting_alter

DRILLS = [
    Drill(
        "statement-timeout",
        "a table locked for 10 s, under 2 readers of it and 2 of another, with no timeout for locks",
        "Postgres' statement timeout of 1.8 s, before the deadline of 2 s (here it is 2 s too)",
        partial(statement_timeout, 10),
        is_short=True,
        run_short=partial(statement_timeout, 3),
    ),
    Drill(
        "no-slot-left",
        "a session ended under its statement, with no slot left in Postgres for another",
        "the circuit breaker's probe on a pooled connection (here it always makes a new one)",
        partial(no_slot_left, 10),
        is_short=True,
        run_short=partial(no_slot_left, 1),
    ),
    Drill(
        "waiting-alter",
        "ALTER TABLE waiting for 10 s behind a long reader, under 4 readers of the table",
        "the role's lock timeout of 1 s (here it has no timeouts)",
        partial(waiting_alter, 10),
        is_short=True,
        run_short=partial(waiting_alter, 3),
    ),
]
