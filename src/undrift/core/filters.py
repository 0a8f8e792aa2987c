"""The language of searches: ``metrics.loss < 0.5 AND tags.team = 'delays'``, read once for all that can be searched.

A filter is text from outside. It becomes a tuple of `Clause` here, checked against a `Grammar` that says what one kind
of thing can be asked; whoever holds the rows makes SQL of the clauses. The language is that of MLflow, so its clients
can be answered as they are used to:

    filter  := clause (AND clause)*            keywords in any case; no OR, no parentheses around clauses
    clause  := key op value | key IS [NOT] NULL | key [NOT] IN ('a', 'b')
    key     := [entity .] name                 no entity means attribute
    name    := bare | `quoted` | "quoted"      bare: letters, digits and _ . - / : (the last four after an entity only)
    op      := = != < <= > >= LIKE ILIKE
    value   := 'quoted' | "quoted" | number

A quote inside quotes is written twice; a backslash means nothing special. Reading takes time in proportion to the text,
whatever the text is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Literal

import msgspec

from undrift.core.errors import Invalid, TooLarge

__all__ = [
    "EXPERIMENTS",
    "LOGGED_MODELS",
    "MAX_CLAUSES",
    "MAX_TEXT",
    "MODEL_VERSIONS",
    "REGISTERED_MODELS",
    "RUNS",
    "Attribute",
    "Clause",
    "Entity",
    "Grammar",
    "OrderBy",
    "can_be_kept",
    "check_order",
    "order_by_field",
    "parse_filter",
    "parse_order",
]

MAX_TEXT = 20_000
"""Characters a filter, or all items of an order together, may have."""

MAX_CLAUSES = 100
"""Clauses of a filter, or items of an order."""

Entity = Literal["attribute", "metric", "parameter", "tag", "dataset"]

_COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_TEXTS = frozenset({"=", "!=", "LIKE", "ILIKE"})
_LISTS = frozenset({"IN", "NOT IN"})
_NULLS = frozenset({"IS NULL", "IS NOT NULL"})

_ENTITIES: dict[str, Entity] = {
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "metric": "metric",
    "metrics": "metric",
    "parameter": "parameter",
    "parameters": "parameter",
    "param": "parameter",
    "params": "parameter",
    "tag": "tag",
    "tags": "tag",
    "dataset": "dataset",
    "datasets": "dataset",
}


class Clause(msgspec.Struct, frozen=True):
    """One comparison of a filter.

    Args:
        entity: What is compared, by its canonical word.
        key: Its canonical key, without quotes.
        op: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``LIKE``, ``ILIKE``, ``IN``, ``NOT IN``, ``IS NULL`` or
            ``IS NOT NULL``.
        value: A float for metrics; an int or a float for attributes that are numbers, an int for whole ones; a tuple
            with at least one text for the two ``IN``; None for the two ``NULL``; else a text.
    """

    entity: Entity
    key: str
    op: str
    value: str | float | int | tuple[str, ...] | None


class OrderBy(msgspec.Struct, frozen=True):
    """One field that results are ordered by: entity and key as in `Clause`."""

    entity: Entity
    key: str
    ascending: bool


class Attribute(msgspec.Struct, frozen=True):
    """What one key with a fixed name can be asked.

    Args:
        kind: ``string`` values are quoted, ``number`` takes 1 and 1.5, ``integer`` only 1.
        operators: The operators it may stand before.
        quoted: Whether an integer may also be written in quotes.
        digits: Whether a string has to be the digits of a whole number, as the id of an experiment is.
    """

    kind: Literal["string", "number", "integer"]
    operators: frozenset[str]
    quoted: bool = False
    digits: bool = False


class Grammar(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of thing can be asked.

    Args:
        words: The entity words that may be written, and what each means.
        attributes: The attributes that filters may name.
        orders: The attributes that orders may name.
        example: A filter that is right, for those who wrote a wrong one.
        order_entities: The entities with free keys that orders may name.
        aliases: Other spellings of attributes.
        operators: What metrics, parameters and tags may be asked.
        datasets: The keys of datasets.
        order_key: What a refusal calls a key that nothing is ordered by.
    """

    words: dict[str, Entity]
    attributes: dict[str, Attribute]
    orders: frozenset[str]
    example: str
    order_entities: frozenset[Entity] = frozenset()
    aliases: dict[str, str] = {}
    operators: dict[Entity, frozenset[str]] = {}
    datasets: dict[str, Attribute] = {}
    order_key: str = "attribute key"


def _words(*words: str) -> dict[str, Entity]:
    return {word: _ENTITIES[word] for word in words}


_TEXT = Attribute("string", _TEXTS)
_LISTED = Attribute("string", _TEXTS | _LISTS)
_NUMBER = Attribute("number", _COMPARISONS)
_INTEGER = Attribute("integer", _COMPARISONS)

RUNS = Grammar(
    words=_ENTITIES,
    attributes={
        "run_id": _LISTED,
        "run_name": _TEXT,
        "user_id": _TEXT,
        "status": _TEXT,
        "artifact_uri": _TEXT,
        "start_time": _NUMBER,
        "end_time": _NUMBER,
    },
    aliases={
        "created": "start_time",
        "Created": "start_time",
        "run name": "run_name",
        "Run name": "run_name",
        "Run Name": "run_name",
    },
    operators={"metric": _COMPARISONS, "parameter": _TEXTS | _NULLS, "tag": _TEXTS | _NULLS},
    datasets={"name": _LISTED, "digest": _LISTED, "context": _LISTED},
    orders=frozenset({"run_id", "run_name", "user_id", "status", "artifact_uri", "start_time", "end_time"}),
    order_entities=frozenset({"metric", "parameter", "tag"}),
    example="metrics.loss < 0.5 AND params.model = 'tree'",
)
"""Runs; times in milliseconds since 1970."""

EXPERIMENTS = Grammar(
    words=_words("attribute", "tag", "tags"),
    attributes={
        "name": _TEXT,
        "experiment_id": Attribute("string", frozenset({"=", "!="}) | _LISTS, digits=True),
        "creation_time": _INTEGER,
        "last_update_time": _INTEGER,
    },
    operators={"tag": _TEXTS | _NULLS},
    orders=frozenset({"name", "experiment_id", "creation_time", "last_update_time"}),
    example="name LIKE 'delays%' AND tags.team = 'rail'",
)
"""Experiments; times in milliseconds since 1970."""

REGISTERED_MODELS = Grammar(
    words=_words("attribute", "tag", "tags"),
    attributes={"name": _LISTED},
    aliases={"timestamp": "last_updated_timestamp"},
    operators={"tag": _TEXTS},
    orders=frozenset({"name", "last_updated_timestamp"}),
    order_key="order by key",
    example="name LIKE 'delays%' AND tags.team = 'rail'",
)
"""Registered models."""

MODEL_VERSIONS = Grammar(
    words=_words("attribute", "tag", "tags"),
    attributes={
        "name": _LISTED,
        "run_id": _LISTED,
        "source_path": _TEXT,
        "version_number": Attribute("integer", _COMPARISONS, quoted=True),
    },
    operators={"tag": _TEXTS},
    orders=frozenset({"name", "version_number", "creation_timestamp", "last_updated_timestamp"}),
    example="name = 'delays' AND version_number > 3",
)
"""Versions of registered models."""

LOGGED_MODELS = Grammar(
    words=_words("attributes", "metrics", "params", "tags"),
    attributes={
        "name": _LISTED,
        "model_id": _LISTED,
        "model_type": _LISTED,
        "status": _LISTED,
        "source_run_id": _LISTED,
        "creation_timestamp": _NUMBER,
        "last_updated_timestamp": _NUMBER,
    },
    aliases={"creation_time": "creation_timestamp", "last_updated_time": "last_updated_timestamp"},
    operators={"metric": _COMPARISONS, "parameter": _TEXTS | _LISTS, "tag": _TEXTS | _LISTS},
    orders=frozenset(
        {"name", "model_id", "model_type", "status", "source_run_id", "creation_timestamp", "last_updated_timestamp"}
    ),
    order_entities=frozenset({"metric"}),
    example="metrics.loss < 0.5 AND params.model = 'tree'",
)
"""Models that runs have logged; times in milliseconds since 1970."""


def parse_filter(text: str, grammar: Grammar) -> tuple[Clause, ...]:
    """Read a filter; one that is blank asks nothing and gives no clause.

    ``AND`` too much, before, behind or between clauses, is let pass as MLflow does: filters are joined from parts, and
    parts are empty at times. A missing ``AND`` is refused.

    Raises:
        Invalid: It does not follow the grammar; the message holds the words that MLflow's clients know.
        TooLarge: It is longer than `MAX_TEXT`, or has more than `MAX_CLAUSES`.

    >>> parse_filter("metrics.loss < 0.5 and `run name` like 'late%'", RUNS)  # doctest: +NORMALIZE_WHITESPACE
    (Clause(entity='metric', key='loss', op='<', value=0.5),
     Clause(entity='attribute', key='run_name', op='LIKE', value='late%'))
    """
    _check_text(text, "filter")
    reader = _Reader(text, f"Write for example: {grammar.example}.")
    clauses: list[Clause] = []
    joined = True
    while not reader.at_end():
        if reader.skip_word("AND"):
            joined = True
            continue
        if not joined:
            several = " Search filter contained multiple expression." if reader.peek() == ";" else ""
            raise reader.refusal(f"Join clauses with AND; there is no OR, and there are no parentheses.{several}")
        if len(clauses) == MAX_CLAUSES:
            raise TooLarge(
                f"The filter has more than {MAX_CLAUSES} clauses.",
                next_step="Ask for less at once; many values of one key can be one clause with IN.",
                limit=MAX_CLAUSES,
            )
        clauses.append(_read_clause(reader, grammar))
        joined = False
    return tuple(clauses)


def parse_order(items: Sequence[str], grammar: Grammar) -> tuple[OrderBy, ...]:
    """Read what results are to be ordered by, the first item first; each is a key, and ASC (unless said) or DESC.

    Raises:
        Invalid: An item cannot be read, names what nothing is ordered by, or a field that was named before.
        TooLarge: There are more than `MAX_CLAUSES` items, or they are longer than `MAX_TEXT` together.

    >>> parse_order(["metrics.loss DESC", "Created"], RUNS)  # doctest: +NORMALIZE_WHITESPACE
    (OrderBy(entity='metric', key='loss', ascending=False),
     OrderBy(entity='attribute', key='start_time', ascending=True))
    """
    if len(items) > MAX_CLAUSES:
        raise TooLarge(
            f"`order_by` has more than {MAX_CLAUSES} items.",
            next_step="Order by the few fields that decide.",
            limit=MAX_CLAUSES,
        )
    _check_text("".join(items), "order")
    orders = tuple(_read_order(item, grammar) for item in items)
    check_order(orders)
    return orders


def order_by_field(field_name: str, ascending: bool, grammar: Grammar) -> OrderBy:
    """Read one field of an order that comes as a name and a direction, as for logged models.

    Everything behind the entity word is the key, whatever characters it has; quotes around all of it are taken off.

    Raises:
        Invalid: Nothing is ordered by such a field.

    >>> order_by_field("metrics.val loss", False, LOGGED_MODELS)
    OrderBy(entity='metric', key='val loss', ascending=False)
    """
    _check_text(field_name, "order")
    word, dot, key = field_name.strip().partition(".")
    if not dot:
        key = word
    if len(key) > 1 and key[0] == key[-1] and key[0] in _NAME_QUOTES:
        key = key[1:-1].replace(key[0] * 2, key[0])
    refusal = f"Invalid order by field name: {_shown(field_name)}."
    if not key:
        raise Invalid(refusal, next_step=f"Name one of {_listed(_orderings(grammar))}.")
    try:
        return OrderBy(*_orderable(_Key(word if dot else None, key), grammar), ascending)
    except Invalid as error:
        raise Invalid(f"{refusal} {error.message}", next_step=error.next_step) from None


def check_order(orders: Iterable[OrderBy]) -> None:
    """Refuse an order that names a field twice: the second could never decide anything.

    Raises:
        Invalid: It does.
    """
    seen: set[tuple[str, str]] = set()
    for order in orders:
        if (order.entity, order.key) in seen:
            raise Invalid(
                f"`order_by` contains duplicate fields: {order.entity} {_shown(order.key)!r}.",
                next_step="Name each field once, also under its other names.",
            )
        seen.add((order.entity, order.key))


_VALUE_QUOTES = "'\""
_NAME_QUOTES = "`\"'"
_SHOWN = 100


class _Key(msgspec.Struct, frozen=True):
    word: str | None
    name: str


class _Value(msgspec.Struct, frozen=True):
    kind: Literal["string", "number", "list", "bare"]
    written: str
    text: str = ""
    number: float | int | None = None
    texts: tuple[str, ...] = ()


class _Reader:
    """A cursor over a text, which only moves forward."""

    def __init__(self, text: str, next_step: str) -> None:
        self.text = text
        self.at = 0
        self.start = 0
        self.next_step = next_step

    def at_end(self) -> bool:
        """Skip what is blank; tell whether nothing follows, and else take this place as the start of a clause."""
        self.skip_blanks()
        self.start = self.at
        return self.at == len(self.text)

    def skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def peek(self) -> str:
        """Return the next character, nothing at the end."""
        return self.text[self.at : self.at + 1]

    def take(self, extra: str) -> str:
        """Take the longest run of letters, digits, underscores and the extra characters."""
        begin = self.at
        while self.at < len(self.text) and _is_bare(self.text[self.at], extra):
            self.at += 1
        return self.text[begin : self.at]

    def peek_word(self) -> str:
        """Return the keyword that stands here in upper case, nothing when it is no word of its own."""
        end = self.at
        # No keyword has more than five letters.
        while end < len(self.text) and end - self.at <= 5 and _is_bare(self.text[end], ""):
            end += 1
        return "" if self.text[end : end + 1] == "." else self.text[self.at : end].upper()

    def skip_word(self, word: str) -> bool:
        """Take this keyword and the blanks behind it, if it stands here."""
        if self.peek_word() != word:
            return False
        self.at += len(word)
        self.skip_blanks()
        return True

    def take_quoted(self) -> str:
        """Take a text in the quotes that stand here; quotes written twice are one."""
        quote = self.text[self.at]
        parts: list[str] = []
        begin = self.at + 1
        while True:
            end = self.text.find(quote, begin)
            if end < 0:
                raise self.refusal(f"A {quote} is opened and not closed.")
            parts.append(self.text[begin:end])
            if self.text[end + 1 : end + 2] != quote:
                self.at = end + 1
                return quote.join(parts)
            begin = end + 2

    def refusal(self, reason: str = "") -> Invalid:
        """Make the error for text that follows no rule, from the start of the clause on."""
        shown = _shown(self.text[self.start :].rstrip())
        return Invalid(
            f"Invalid clause(s) in filter string: '{shown}'. {reason}".rstrip(),
            next_step=f"{self.next_step} Names with other characters than letters, digits and _ . - / : need "
            "`backticks`; a quote inside quotes is written twice.",
            position=self.at,
        )


def _is_bare(character: str, extra: str) -> bool:
    return character.isalnum() or character == "_" or character in extra


def _read_clause(reader: _Reader, grammar: Grammar) -> Clause:
    key = _read_key(reader)
    if key is None:
        # Take what is written in its place, so that the message can show it.
        begin = reader.at
        if reader.peek() == "'":
            reader.take_quoted()
        else:
            reader.take(".-")
        found = reader.text[begin : reader.at] or reader.peek()
        raise reader.refusal(f"Expected 'Identifier' found {_shown(found)!r}.")
    reader.skip_blanks()
    op = _read_operator(reader)
    reader.skip_blanks()
    value = None if op in _NULLS else _read_value(reader)
    return _checked(key, op, value, reader, grammar)


def _read_key(reader: _Reader) -> _Key | None:
    first = reader.peek()
    if first in {"`", '"'}:
        head = reader.take_quoted()
    elif first == "_" or first.isalpha():
        head = reader.take("")
    else:
        return None
    if reader.peek() != ".":
        return _Key(None, head)
    reader.at += 1
    quoted = reader.peek() and reader.peek() in _NAME_QUOTES
    name = reader.take_quoted() if quoted else reader.take(".-/:")
    if not name:
        raise reader.refusal("A name is missing behind the dot.")
    return _Key(head, name)


def _read_operator(reader: _Reader) -> str:
    begin = reader.at
    while reader.peek() and reader.peek() in "<>=!~":
        reader.at += 1
    if reader.at > begin:
        return reader.text[begin : reader.at]
    if reader.skip_word("IS"):
        negated = reader.skip_word("NOT")
        if not reader.skip_word("NULL"):
            raise reader.refusal("Behind IS stands NULL or NOT NULL.")
        return "IS NOT NULL" if negated else "IS NULL"
    prefix = "NOT " if reader.skip_word("NOT") else ""
    # RLIKE is no operator here, but known as one, so that the message can say so.
    for word in ("IN", "LIKE", "ILIKE", "RLIKE"):
        if reader.skip_word(word):
            return prefix + word
    raise reader.refusal("A comparison is missing behind the key.")


def _read_value(reader: _Reader) -> _Value:
    begin = reader.at
    first = reader.peek()
    if first and first in _VALUE_QUOTES:
        text = reader.take_quoted()
        return _Value("string", reader.text[begin : reader.at], text=text)
    if first == "(":
        return _read_list(reader)
    if first == "`":
        reader.take_quoted()
        return _Value("bare", reader.text[begin : reader.at])
    written = _take_number_or_word(reader)
    if not written:
        raise reader.refusal("A value is missing behind the comparison.")
    number = _number(written)
    return _Value("bare" if number is None else "number", written, number=number)


def _take_number_or_word(reader: _Reader) -> str:
    begin = reader.at
    if reader.peek() == "-":
        reader.at += 1
    while reader.peek() and _is_bare(reader.peek(), "."):
        letter = reader.peek()
        reader.at += 1
        # The sign of an exponent: nowhere else does one stand inside a number.
        if letter in "eE" and reader.peek() in {"+", "-"}:
            reader.at += 1
    return reader.text[begin : reader.at]


def _number(written: str) -> float | int | None:
    # By hand what float() would also take: 1_000, nan, inf, and digits of other scripts.
    if not written.isascii() or "_" in written or not any(letter.isdigit() for letter in written):
        return None
    digits = written.removeprefix("-")
    if digits.isdigit():
        # More digits than a double can tell apart from infinity are not worth the time to read.
        return int(written) if len(digits) <= 400 else None
    try:
        return float(written)
    except ValueError:
        return None


def _read_list(reader: _Reader) -> _Value:
    begin = reader.at
    reader.at += 1
    texts: list[str] = []
    while True:
        reader.skip_blanks()
        if reader.peek() == ")":
            reader.at += 1
            break
        if not reader.peek() or reader.peek() not in _VALUE_QUOTES:
            raise reader.refusal(
                "While parsing a list in the query, expected a non-empty list of quoted string values."
            )
        texts.append(reader.take_quoted())
        reader.skip_blanks()
        if reader.peek() == ",":
            reader.at += 1
        elif reader.peek() != ")":
            raise reader.refusal("While parsing a list in the query, expected a comma between string values.")
    if not texts:
        raise reader.refusal("While parsing a list in the query, expected a non-empty list of string values.")
    return _Value("list", reader.text[begin : reader.at], texts=tuple(texts))


def _checked(key: _Key, op: str, value: _Value | None, reader: _Reader, grammar: Grammar) -> Clause:
    entity = _entity(key.word, grammar)
    if entity == "attribute":
        name = grammar.aliases.get(key.name, key.name)
        attribute = _attribute(name, grammar.attributes, f"Invalid attribute key {_shown(key.name)!r} specified.")
    elif entity == "dataset":
        name = key.name
        attribute = _attribute(name, grammar.datasets, f"Invalid dataset key {_shown(name)!r} specified.")
    else:
        name = key.name
        attribute = Attribute("number" if entity == "metric" else "string", grammar.operators[entity])
    if value is None:
        if op not in attribute.operators:
            raise _refused_null(entity, name, grammar)
        return Clause(entity, name, op, None)
    answer = _value(entity, name, op, attribute, value, reader, grammar)
    if op not in attribute.operators:
        raise Invalid(
            f"Invalid comparator {_shown(op)!r} not one of {sorted(attribute.operators)}.",
            next_step=f"{entity.capitalize()} '{_shown(name)}' is compared with {_listed(attribute.operators)}.",
            comparator=_shown(op),
        )
    return Clause(entity, name, op, answer)


def _value(
    entity: Entity, name: str, op: str, attribute: Attribute, value: _Value, reader: _Reader, grammar: Grammar
) -> str | float | int | tuple[str, ...]:
    if attribute.kind != "string":
        return _numeric(entity, name, attribute, value)
    if value.kind == "list" and op in _LISTS:
        if op not in attribute.operators and entity == "attribute":
            able = sorted(key for key, each in grammar.attributes.items() if op in each.operators)
            raise Invalid(
                f"Invalid comparator {op!r}: Only {able} attributes support comparison with a list of quoted string "
                "values.",
                next_step=f"Compare '{_shown(name)}' with {_listed(attribute.operators)}.",
            )
        if op in attribute.operators:
            return tuple(_text(name, attribute, text) for text in value.texts)
    # Where lists are no question, the operator is what is wrong, and the caller says so.
    if value.kind == "string" and not (op in _LISTS and op in attribute.operators):
        return _text(name, attribute, value.text)
    where = {"attribute": "attributes", "dataset": "dataset attributes"}.get(entity, f"{entity} (e.g. 'my-value')")
    written = _shown(value.written)
    expected = f"Expected a quoted string value for {where}. Got value {written}"
    if value.kind == "bare":
        raise reader.refusal(f"{expected}: the value is either not quoted or unidentified quote types were used.")
    if op in _LISTS and op in attribute.operators:
        raise Invalid(
            f"While parsing a list in the query, expected a non-empty list of string values. Got value {written}.",
            next_step=f"Write a list: {_shown(name)} {op} ('a', 'b').",
        )
    raise Invalid(
        f"{expected}.",
        next_step=f"'{_shown(name)}' is compared with {_listed(attribute.operators)}, and its value stands in quotes.",
    )


def _numeric(entity: Entity, name: str, attribute: Attribute, value: _Value) -> float | int:
    number = value.number
    if value.kind == "string" and attribute.quoted:
        number = _number(value.text)
    where = "metric" if entity == "metric" else f"numeric attribute: {name}"
    written = _shown(value.written)
    if number is None:
        raise Invalid(
            f"Expected numeric value type for {where}. Found {written}.",
            next_step="Write a number without quotes, such as 1, -0.5 or 1e-3.",
        )
    if entity == "metric":
        try:
            number = float(number)
        except OverflowError:
            number = float("inf")
        if isfinite(number):
            return number
        raise Invalid(
            f"Expected numeric value type for metric. Found {written}, which is larger than any metric.",
            next_step="Write a number below 1.8e308.",
        )
    if attribute.kind == "integer" and not isinstance(number, int):
        raise Invalid(
            f"Invalid value for numeric attribute '{name}': {written}.",
            next_step="Write a whole number.",
        )
    # What does not fit here fits no column either, and a database would stumble over it.
    if not -(2**63) <= number < 2**63:
        raise Invalid(
            f"Invalid value for numeric attribute '{name}': {written} has more than 64 bits.",
            next_step="Times are milliseconds since 1970.",
        )
    return number


def _text(name: str, attribute: Attribute, text: str) -> str:
    if not attribute.digits:
        return text
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return str(int(text))
    raise Invalid(
        f"Invalid value for attribute '{name}': {_shown(text)!r}.",
        next_step="Write a whole number of up to 18 digits in quotes.",
    )


def _refused_null(entity: Entity, name: str, grammar: Grammar) -> Invalid:
    able = [each for each, operators in grammar.operators.items() if "IS NULL" in operators]
    if not able:
        return Invalid(
            "Invalid comparator 'IS NULL': IS NULL / IS NOT NULL is not supported here.",
            next_step=f"Write for example: {grammar.example}.",
        )
    plural = " and ".join({"parameter": "params"}.get(each, f"{each}s") for each in reversed(able))
    return Invalid(
        f"Invalid comparator 'IS NULL': IS NULL / IS NOT NULL is only supported for {plural}, not for '{entity}' "
        f"'{_shown(name)}'.",
        next_step="Leave the clause out.",
    )


def _entity(word: str | None, grammar: Grammar) -> Entity:
    if word is None:
        return "attribute"
    entity = grammar.words.get(word)
    if entity is None:
        raise Invalid(
            f"Invalid entity type {_shown(word)!r}. Valid values are {sorted(grammar.words)}.",
            next_step=f"Write for example: {grammar.example}.",
        )
    return entity


def _attribute(name: str, known: dict[str, Attribute], refusal: str) -> Attribute:
    attribute = known.get(name)
    if attribute is None:
        raise Invalid(
            f"{refusal} Valid keys are {sorted(known)}.",
            next_step="Other names stand behind what they are a name of, as in tags.team.",
        )
    return attribute


def _read_order(item: str, grammar: Grammar) -> OrderBy:
    shown = _shown(item)
    unreadable = Invalid(
        f"Invalid order_by clause '{shown}'. Could not be parsed.",
        next_step=f"Write a key and ASC or DESC, such as '{_orderings(grammar)[0]} DESC'; names with other characters "
        "than letters, digits and _ . - / : need `backticks`.",
    )
    reader = _Reader(item, "")
    if reader.at_end():
        raise unreadable
    try:
        key = _read_key(reader)
    except Invalid:
        raise unreadable from None
    # A direction that has nothing to direct is no field either.
    if key is None or (key.word is None and item.strip().upper() in {"ASC", "DESC"}):
        raise unreadable
    blank = reader.peek().isspace()
    reader.skip_blanks()
    direction = reader.take("").upper() if blank else ""
    reader.skip_blanks()
    if reader.peek():
        raise unreadable
    if direction not in {"", "ASC", "DESC"}:
        raise Invalid(
            f"Invalid ordering key in order_by clause '{shown}'.",
            next_step="Write ASC or DESC behind the key; names with blanks need `backticks`.",
        )
    return OrderBy(*_orderable(key, grammar), direction != "DESC")


def _orderable(key: _Key, grammar: Grammar) -> tuple[Entity, str]:
    entity = _entity(key.word, grammar)
    name = grammar.aliases.get(key.name, key.name) if entity == "attribute" else key.name
    if entity == "attribute":
        if name not in grammar.orders:
            raise Invalid(
                f"Invalid {grammar.order_key} {_shown(key.name)!r} specified. Valid keys are {sorted(grammar.orders)}.",
                next_step=f"Order by one of {_listed(_orderings(grammar))}.",
            )
    elif entity not in grammar.order_entities:
        raise Invalid(
            f"Invalid order_by entity: {entity}.",
            next_step=f"Order by one of {_listed(_orderings(grammar))}.",
        )
    return entity, name


def _orderings(grammar: Grammar) -> list[str]:
    free = {"metric": "metrics.NAME", "parameter": "params.NAME", "tag": "tags.NAME", "dataset": "datasets.NAME"}
    return sorted(grammar.orders) + [free[entity] for entity in sorted(grammar.order_entities)]


def _check_text(text: str, what: str) -> None:
    if len(text) > MAX_TEXT:
        raise TooLarge(
            f"The {what} has {len(text):,} characters; {MAX_TEXT:,} are allowed.",
            next_step="Ask for less at once.",
            limit=MAX_TEXT,
        )
    # Neither can be stored, so nothing could match; and PostgreSQL takes neither as a parameter.
    if not can_be_kept(text):
        raise Invalid(
            f"Invalid clause(s) in filter string: the {what} holds a character that no text can have (NUL, or half of "
            "a surrogate pair).",
            next_step="Take the character out.",
        )


def can_be_kept(text: str) -> bool:
    """Tell whether every database can keep a text: it has no NUL and no half of a surrogate pair.

    >>> can_be_kept("late"), can_be_kept("late" + chr(0))
    (True, False)
    """
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
