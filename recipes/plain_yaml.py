"""YAML as a recipe needs it: data only, written once, of bounded size."""

from __future__ import annotations

import re
from typing import Any

import yaml

from reasoner.errors import UserError
from reasoner.settings import MAX_DEPTH

MAX_SIGNS = 1_000_000


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: no tags, no aliases (they can expand without limit), no dates, no key twice.

    And with the numbers people write: `1e-4` is a float here too, not a string, and `1:30` is text, not 90.
    """

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"{_place(event)}: aliases (*{event.anchor}) are not read; write the value out")
        if event.tag is not None:
            raise yaml.YAMLError(f"{_place(event)}: tags ({event.tag}) are not read; leave it out")
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f"{_place(event)}: nested deeper than {MAX_DEPTH}")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"{_place(key_node)}: the key {key!r} is no text; quote it")
            if key in found:
                raise yaml.YAMLError(f"{_place(key_node)}: '{key}' is there twice; keep one")
            found[key] = self.construct_object(value_node, deep=deep)
        return found

    def construct_scalar(self, node: Any) -> Any:
        if "\0" in node.value:
            raise yaml.YAMLError(f"{_place(node)}: holds a NUL byte; take it out")
        return super().construct_scalar(node)


def _place(at: Any) -> str:
    return f"line {at.start_mark.line + 1}"


_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, re.compile(f"(?!.*:)(?:{pattern.pattern})", re.X)) for tag, pattern in resolvers if tag in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. Raises `UserError` naming `where` when it is not YAML, or more than data."""
    if len(text) > MAX_SIGNS:
        raise UserError(f"{where}: longer than {MAX_SIGNS:,} characters, which no recipe is")
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter two: numbers beyond Python's limits
        raise UserError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from error
