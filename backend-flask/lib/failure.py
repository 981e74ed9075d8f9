"""What ends a start or a command. Apart from errors.py, so that it costs no import of Flask."""


class Failure(Exception):
    """A line for the operator for each fault of the setup: what is wrong, and the remedy."""
