"""What ends a start or a command. Apart from errors.py, so that it costs no import of Flask."""


class CommandError(Exception):
    """A command that cannot be done: a line for the operator, with what is wrong and the remedy."""


class ConfigError(CommandError):
    """A wrong configuration: a line for each fault of it."""


def not_set(name: str, rule: str, example: str) -> str:
    """Return the line for a setting that is missing: what a right value is, and one."""
    return f"{name} is not set; it is {rule}, such as {name}={example}"


def malformed(name: str, reason: str, rule: str, example: str) -> str:
    """Return the line for a setting whose value is wrong. `reason` must not quote the value: it may be a secret."""
    return f"{name} is malformed: {reason}; {name} is {rule}, such as {name}={example}"


def deprecated(name: str, replacement: str) -> str:
    """Return the line for a setting that is set by its old name. `replacement` is the new one, or an assignment."""
    return f"{name} is deprecated, and the next release ignores it: unset it, and set {replacement} instead"
