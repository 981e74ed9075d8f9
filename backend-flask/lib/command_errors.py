"""Errors that end a command or the service's start. This module needs no Flask, unlike lib/errors.py."""


class CommandError(Exception):
    """A failed command. The text is a line for the operator: the fault and its remedy."""


class ConfigError(CommandError):
    """A wrong configuration. The text has a line for each fault."""


def not_set(name: str, rule: str, example: str) -> str:
    """Return the line for a missing setting, with the rule for its value and an example."""
    return f"{name} is not set; it is {rule}, such as {name}={example}"


def malformed(name: str, reason: str, rule: str, example: str) -> str:
    """Return the line for a setting with a wrong value. `reason` must not quote the value, which may be a secret."""
    return f"{name} is malformed: {reason}; {name} is {rule}, such as {name}={example}"


def deprecated(name: str, replacement: str) -> str:
    """Return the line for a deprecated setting. `replacement` is the new setting's name, or an assignment."""
    return f"{name} is deprecated, and the next release ignores it: unset it, and set {replacement} instead"
