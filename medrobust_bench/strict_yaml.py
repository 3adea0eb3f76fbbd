"""YAML of strangers: plain values only, so that a small text stays small."""

from __future__ import annotations

from typing import Any

import yaml

LARGEST = 64_000
"""Characters."""


class _Plain(yaml.SafeLoader):
    """The safe loader without anchors, aliases and merge keys, whose few lines can stand for billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases are not allowed", event.start_mark
            )
        return super().compose_node(parent, index)


def compose(text: str) -> yaml.Node | None:
    """The nodes of a text, with their lines.

    Raises:
        yaml.YAMLError: what is wrong; also a text that is too long or nested too deeply.
    """
    _check_length(text)
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Plain)
    except RecursionError as error:
        raise yaml.YAMLError("is nested too deeply") from error
    return node


def load(text: str) -> object:
    """The values of a text.

    Raises:
        yaml.YAMLError: what is wrong; also a text that is too long or nested too deeply, or a number too long to be
            read.
    """
    _check_length(text)
    try:
        return yaml.load(text, Loader=_Plain)
    except (RecursionError, ValueError) as error:
        raise yaml.YAMLError(f"cannot be read: {str(error).splitlines()[0]}") from error


def _check_length(text: str) -> None:
    if len(text) > LARGEST:
        raise yaml.YAMLError(f"has {len(text)} characters, at most {LARGEST} are allowed")
