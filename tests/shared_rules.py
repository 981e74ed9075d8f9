"""URL rules that are compiled once for all applications of a test process.

Each test has an application of its own. werkzeug compiles 61 rules for each, which is 45 ms of 55.
"""

from copy import copy
from typing import Any, ClassVar

from werkzeug.routing import Rule


class SharedRule(Rule):
    """A rule with the compiled parts of an equal rule, where another application has compiled one."""

    _compiled: ClassVar[dict[tuple[object, ...], dict[str, Any]]] = {}

    def compile(self) -> None:
        """Compile the rule, or take what `compile` has changed in an equal one."""
        assert self.map is not None
        converters = tuple(sorted((name, id(kind)) for name, kind in self.map.converters.items()))
        key = (self.rule, self.subdomain, self.host, self.map.host_matching, self.merge_slashes, converters)
        if key not in self._compiled:
            before = {name: copy(value) for name, value in vars(self).items() if not callable(value)}
            super().compile()
            self._compiled[key] = {
                name: value for name, value in vars(self).items() if name not in before or before[name] != value
            }
        for name, value in self._compiled[key].items():
            setattr(self, name, copy(value) if isinstance(value, list | dict | set) else value)
