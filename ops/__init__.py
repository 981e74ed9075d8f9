"""Commands for operators and developers. Each has a script in bin/."""

import signal
import sys

# Python's own handler would print a traceback of the imports below. `ops.command.run` restores that handler.
# While `python -m ops.<command>` imports this package, sys.argv starts with -m.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
