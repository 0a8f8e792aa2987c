"""As much of GraphQL as MLflow's page speaks: one operation with variables, aliases, fragments and directives.

A text from outside is read in time proportional to its length, and what it asks for is counted before anything is
looked up: fragments that multiply, or that contain themselves, end at a limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from undrift.core.errors import Invalid, TooLarge

__all__ = ["MAX_DEPTH", "MAX_ROOTS", "MAX_SELECTIONS", "MAX_TEXT", "Selected", "parse", "select"]

MAX_TEXT = 50_000
MAX_ROOTS = 10
MAX_ALIASES = 10
MAX_DEPTH = 10
MAX_SELECTIONS = 1_000
_MAX_NESTING = 50
_TOKEN = re.compile(
    r"[\s,\ufeff]+|#[^\n]*|(?P<punctuation>\.\.\.|[!$():=@\[\]{|}])|(?P<name>[_A-Za-z][_0-9A-Za-z]*)"
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r'|(?P<text>"(?:[^"\\\n]|\\["\\/bfnrtu])*")'
)


class _Field(msgspec.Struct):
    name: str
    alias: str
    arguments: dict[str, Any]
    directives: list[tuple[str, dict[str, Any]]]
    selections: list[Any]


class _Spread(msgspec.Struct):
    fragment: str
    directives: list[tuple[str, dict[str, Any]]]


class _Inline(msgspec.Struct):
    directives: list[tuple[str, dict[str, Any]]]
    selections: list[Any]


class _Variable(msgspec.Struct, frozen=True):
    name: str


class _Operation(msgspec.Struct):
    name: str
    defaults: dict[str, Any]
    selections: list[Any]


class Document(msgspec.Struct):
    """A text that was read: its operations and fragments."""

    operations: list[_Operation]
    fragments: dict[str, list[Any]]


class Selected(msgspec.Struct):
    """One field that is asked for, with everything asked of it in one place.

    Attributes:
        key: What it is called in the answer.
        name: Its name.
        arguments: What it is asked with, variables filled in.
        fields: What is asked of it.
    """

    key: str
    name: str
    arguments: dict[str, Any]
    fields: list[Selected]


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise TooLarge(f"A query has at most {MAX_TEXT} characters.")
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.end() == at:
                raise Invalid(f"Syntax Error: unexpected character {text[at]!r} at {at}.")
            at = found.end()
            if found.lastgroup:
                self._tokens.append((found.lastgroup, found[0]))
        self._at = 0
        self._nested = 0

    def document(self) -> Document:
        document = Document([], {})
        while not self._ended():
            kind, word = self._peek()
            if word == "fragment":
                self._take()
                name = self._name()
                self._expect("on")
                self._name()
                self._directives()
                document.fragments[name] = self._selections()
            elif word == "{" or kind == "name":
                document.operations.append(self._operation())
            else:
                raise self._unexpected()
        return document

    def _operation(self) -> _Operation:
        if self._peek()[1] == "{":
            return _Operation("", {}, self._selections())
        kind = self._name()
        if kind not in {"query", "mutation"}:
            raise Invalid(f"Syntax Error: {kind!r} is neither a query nor a mutation.")
        name = self._name() if self._peek()[0] == "name" else ""
        defaults: dict[str, Any] = {}
        if self._skip("("):
            while not self._skip(")"):
                self._expect("$")
                variable = self._name()
                self._expect(":")
                self._type()
                if self._skip("="):
                    defaults[variable] = self._value()
                self._directives()
        self._directives()
        return _Operation(name, defaults, self._selections())

    def _type(self) -> None:
        depth = 0
        while self._skip("["):
            depth += 1
        self._name()
        self._skip("!")
        for _ in range(depth):
            self._expect("]")
            self._skip("!")

    def _selections(self) -> list[Any]:
        self._nest()
        self._expect("{")
        found: list[Any] = []
        while not self._skip("}"):
            found.append(self._selection())
        self._nested -= 1
        if not found:
            raise Invalid("Syntax Error: nothing is selected between { and }.")
        return found

    def _selection(self) -> Any:
        if self._skip("..."):
            kind, word = self._peek()
            if kind == "name" and word != "on":
                return _Spread(self._name(), self._directives())
            if self._skip("on"):
                self._name()
            return _Inline(self._directives(), self._selections())
        name = alias = self._name()
        if self._skip(":"):
            name = self._name()
        arguments = self._arguments()
        directives = self._directives()
        selections = self._selections() if self._peek()[1] == "{" else []
        return _Field(name, alias, arguments, directives, selections)

    def _arguments(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._skip("("):
            while not self._skip(")"):
                name = self._name()
                self._expect(":")
                found[name] = self._value()
        return found

    def _directives(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        while self._skip("@"):
            found.append((self._name(), self._arguments()))
        return found

    def _value(self) -> Any:
        self._nest()
        try:
            return self._any_value()
        finally:
            self._nested -= 1

    def _any_value(self) -> Any:
        kind, word = self._peek()
        if kind in {"number", "text"}:
            self._take()
            try:
                return msgspec.json.decode(word)
            except msgspec.DecodeError:
                raise Invalid(f"Syntax Error: {word[:40]} cannot be read.") from None
        if kind == "name":
            self._take()
            return {"true": True, "false": False, "null": None}.get(word, word)
        if self._skip("$"):
            return _Variable(self._name())
        if self._skip("["):
            values = []
            while not self._skip("]"):
                values.append(self._value())
            return values
        if self._skip("{"):
            fields: dict[str, Any] = {}
            while not self._skip("}"):
                name = self._name()
                self._expect(":")
                fields[name] = self._value()
            return fields
        raise self._unexpected()

    def _nest(self) -> None:
        self._nested += 1
        if self._nested > _MAX_NESTING:
            raise TooLarge(f"The query is nested more than {_MAX_NESTING} times.")

    def _ended(self) -> bool:
        return self._at >= len(self._tokens)

    def _peek(self) -> tuple[str, str]:
        return ("end", "") if self._ended() else self._tokens[self._at]

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _skip(self, word: str) -> bool:
        kind, found = self._peek()
        if found == word and kind != "text":
            self._at += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._skip(word):
            raise self._unexpected(word)

    def _name(self) -> str:
        if self._peek()[0] != "name":
            raise self._unexpected("a name")
        return self._take()[1]

    def _unexpected(self, wanted: str = "") -> Invalid:
        kind, word = self._peek()
        found = "the end" if kind == "end" else repr(word[:40])
        return Invalid(f"Syntax Error: {f'expected {wanted}, found' if wanted else 'unexpected'} {found}.")


def parse(text: str) -> Document:
    """Read a text.

    Raises:
        Invalid: It is not GraphQL, or a part of it that nobody speaks here.
        TooLarge: It is too long, or nested too deeply.
    """
    return _Parser(text).document()


def select(document: Document, name: str, variables: Mapping[str, Any]) -> list[Selected]:
    """Return the fields that the operation which is meant asks for at the root.

    Args:
        document: What was read.
        name: Which operation; may be empty when there is one.
        variables: The values of its variables.

    Raises:
        Invalid: There is no such operation, fragment or variable.
        TooLarge: It asks for more than the limits.
    """
    fitting = [one for one in document.operations if not name or one.name == name]
    if len(fitting) != 1:
        raise Invalid("Say which operation is meant: the query has none of this name, or several.")
    operation = fitting[0]
    selector = _Selector(document, {**operation.defaults, **variables}, set(operation.defaults) | set(variables))
    roots = selector.fields(operation.selections, 1)
    if len(roots) > MAX_ROOTS:
        raise TooLarge(f"A query has at most {MAX_ROOTS} root fields.")
    return roots


class _Selector:
    def __init__(self, document: Document, variables: Mapping[str, Any], known: set[str]) -> None:
        self._document = document
        self._variables = variables
        self._known = known
        self._selections = 0
        self._aliases = 0

    def fields(self, selections: Sequence[Any], depth: int) -> list[Selected]:
        if depth > MAX_DEPTH:
            raise TooLarge(f"A query is at most {MAX_DEPTH} levels deep.")
        gathered: dict[str, tuple[_Field, list[Any]]] = {}
        self._gather(selections, gathered, ())
        return [
            Selected(key, field.name, self._filled(field.arguments), self.fields(below, depth + 1) if below else [])
            for key, (field, below) in gathered.items()
        ]

    def _gather(
        self, selections: Sequence[Any], into: dict[str, tuple[_Field, list[Any]]], within: tuple[str, ...]
    ) -> None:
        for one in selections:
            self._selections += 1
            if self._selections > MAX_SELECTIONS:
                raise TooLarge(f"A query asks for at most {MAX_SELECTIONS} fields.")
            if not self._wanted(one.directives):
                continue
            if isinstance(one, _Spread):
                if len(within) >= MAX_DEPTH:
                    raise TooLarge(f"Fragments stand at most {MAX_DEPTH} deep in one another.")
                if one.fragment in within or one.fragment not in self._document.fragments:
                    raise Invalid(f"The fragment {one.fragment[:80]!r} is unknown, or contains itself.")
                self._gather(self._document.fragments[one.fragment], into, (*within, one.fragment))
            elif isinstance(one, _Inline):
                self._gather(one.selections, into, within)
            else:
                self._add(one, into)

    def _add(self, field: _Field, into: dict[str, tuple[_Field, list[Any]]]) -> None:
        if field.alias != field.name:
            self._aliases += 1
            if self._aliases > MAX_ALIASES:
                raise TooLarge(f"A query has at most {MAX_ALIASES} aliases.")
        if field.alias not in into:
            into[field.alias] = field, list(field.selections)
            return
        there, below = into[field.alias]
        if there.name != field.name or there.arguments != field.arguments:
            raise Invalid(f"Two different fields are to be called {field.alias[:80]!r}.")
        below.extend(field.selections)

    def _wanted(self, directives: Sequence[tuple[str, dict[str, Any]]]) -> bool:
        for name, arguments in directives:
            if name in {"skip", "include"} and self._filled(arguments).get("if") is not (name == "include"):
                return False
        return True

    def _filled(self, value: Any) -> Any:
        if isinstance(value, _Variable):
            if value.name not in self._known:
                return None
            return self._variables[value.name]
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        if isinstance(value, dict):
            return {key: self._filled(one) for key, one in value.items()}
        return value
