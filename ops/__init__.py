"""What operators and developers run. The scripts in bin/ are its doors."""

import signal
import sys

# Python's own handler shows a traceback, here of the imports that follow: `run` sets it once it can end in order.
# sys.argv is this while `python -m ops.<command>` imports its package.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
