"""Records: people and orders as JSON, in which some fields follow from others.

*Question:* ``people`` asks for a JSON list of records with a name, its initials, an e-mail address
made from it, a year of birth and the age in a given year; ``orders`` for JSON lines with an item,
its price, a quantity and the total, and a last line with the grand total.

*Why it is hard:* most of the tokens are fixed or free, but each free one returns: the name in the
initials and the address, the year in the age, item and quantity in price and total, and all of
them in the grand total.  Fields drawn in parallel contradict each other.  Two steps suffice for
any number of records: the free fields, which are independent of each other, and then the rest.

*Theory:* in bits, for n records, p people and d decades of years of birth, or n orders, m items
and q quantities:

======  ===================================================================================
people  entropy n log2(10 d p); total correlation n (4 log2 p + log2 10 + H(t)), where H(t) is
        the entropy of the tens of the age
orders  entropy n log2(m q); as many total correlation bits as the prices, the totals and the
        grand total have entropies, digit by digit
======  ===================================================================================

*The lenient reading* takes the last JSON list of objects, or the last grand total with the objects
before it, and accepts any white space and order of keys.  JSON is parsed, never run.

*Problems of a reply*, first match:

======  ===================================================================================
people  ``unreadable``: no JSON list of objects; ``wrong count``; ``wrong keys``: a record lacks
        a key, has another one, or one twice; ``unknown name``; ``wrong initials``; ``wrong
        e-mail``; ``no such year``; ``wrong age``
orders  ``unreadable``: no JSON object with a grand total; ``wrong count``; ``wrong keys``;
        ``unknown item``; ``no such quantity``; ``wrong price``; ``wrong total``; ``wrong grand
        total``
======  ===================================================================================

Source: our own.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis, constant_stage
from parallelbench.errors import NotEnumerableError
from parallelbench.ranges import MOST_TOKENS, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask

#: First and last names; no two share one, or their initials.
PEOPLE = (
    *("Ada Fox", "Ben Marsh", "Cora Lund", "Dov Hale", "Edna Pike", "Finn Ross", "Gus Weld"),
    *("Hana Cole", "Ivo Tate", "Jun Birch", "Kira Moss", "Leif Dane", "Maud Quill", "Noor Vance"),
    *("Otto Ames", "Petra Gray", "Rhea Stone", "Saul Kemp", "Tess Boyd", "Umar Finch"),
    *("Vera Noble", "Walt Irons", "Yara Jost", "Zeno Lark"),
)
_DOMAIN = "example.org"
_FIRST_YEAR = 1950
#: Ages have two digits for years of birth from 1950 to 2009.
_YEARS_NOW = range(2020, 2050)
#: Stands in the form that the prompt shows; nobody may be called so.
_SHOWN_NAME = "Ann Lee"

ITEMS = (
    *("lamp", "chair", "rug", "shelf", "desk", "stool"),
    *("vase", "clock", "bench", "mirror", "basket", "kettle"),
)
#: Prices whose multiples up to three all have two digits.
_PRICES = range(10, 35, 5)
_MOST_QUANTITY = 3
#: Most triples of a sum so far, an item and a quantity.
_MOST_STATES = 4_000

#: An object without objects in it.
_FLAT_OBJECT = re.compile(r"\{[^{}]*\}")
_LIST_OF_OBJECTS = re.compile(r"\[\s*\{")


class _Repeated:
    """Stands for the value of a key that an object has twice."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = _Repeated if key in found else value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _has_keys(records: Sequence[Any], keys: Sequence[str]) -> bool:
    return all(
        isinstance(record, dict) and set(record) == set(keys) and _Repeated not in record.values()
        for record in records
    )


def _is_number(value: object, number: int) -> bool:
    # True equals 1 and 3.0 equals 3, but they are other JSON.
    return type(value) is int and value == number


def _first(problems: Mapping[str, bool]) -> str | None:
    return next((problem for problem, holds in problems.items() if holds), None)


# --- People -----------------------------------------------------------------------------


def _initials(name: str) -> str:
    return "".join(word[0] for word in name.split())


def _address(name: str) -> str:
    return f"{name.lower().replace(' ', '.')}@{_DOMAIN}"


def _person(name: str, born: int, now: int) -> dict[str, Any]:
    return {
        "name": name,
        "initials": _initials(name),
        "email": _address(name),
        "born": born,
        "age": now - born,
    }


@lru_cache(maxsize=64)
def _people_trellis(people: tuple[str, ...], years: range, now: int, length: int) -> TextTrellis:
    between = constant_stage('}, {"name": "')
    record = [
        Stage(Edge(START, name, name) for name in people),
        constant_stage('", "initials": "', people),
        Stage(Edge(name, _initials(name), name) for name in people),
        constant_stage('", "email": "', people),
        Stage(Edge(name, _address(name), START) for name in people),
        constant_stage('", "born":'),
        Stage(Edge(START, f" {year}", year) for year in years),
        constant_stage(', "age":', years),
        Stage(Edge(year, f" {now - year}", START) for year in years),
    ]
    stages = [constant_stage('[{"name": "'), *record]
    for _ in range(length - 1):
        stages += [between, *record]
    return TextTrellis([*stages, constant_stage("}]")])


@TASKS.register("records/people")
@dataclass(frozen=True, kw_only=True)
class People(TrellisTask):
    """Ask for records of people as a JSON list; all lists are equally likely.

    Attributes:
        length: Number of records.
        people: Number of people offered; a record may be of any of them.
        decades: Number of decades of years of birth, from 1950 on.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "records/people"
    words: ClassVar[tuple[str, ...]] = (
        *("name", "initials", "email", "born", "age", "example", "org"),
        *(word for name in PEOPLE for word in (*name.split(), *name.lower().split())),
        *(_initials(name) for name in PEOPLE),
    )
    templates: ClassVar[dict[str, str]] = {
        "default": "Make up {length} records of people for a test. Take each name at random from "
        "this list, where a name may come again: {people}. Take each year of birth at random from "
        "{first} to {last}. The e-mail address is the name in small letters with a dot, at "
        f"{_DOMAIN}, and the age is that in {{now}}, counted in whole years as {{now}} minus the "
        "year of birth. Reply with a JSON list on one line and nothing else; each record has this "
        "form: {form}",
        "terse": "JSON list, one line, {length} random records of the form {form} with names from "
        "{people} (repeats allowed), born {first} to {last}, age in {now}:",
        "story": "A clerk needs {length} made-up entries to try out a new register. Each entry is "
        "of somebody on this list, drawn at random and perhaps more than once: {people}. Years of "
        "birth are random from {first} to {last}, and the register is dated {now}, from which the "
        "age is reckoned year minus year. Write the entries as one JSON list on one line, without "
        "a word around it; an entry looks like this: {form}",
    }

    length: int = whole(1, 5, "records", most=60)
    people: int = whole(2, 6, "people", most=len(PEOPLE))
    decades: int = whole(1, 4, "decades", most=6)
    canvas_length: int = whole(1, 256, "tokens", most=MOST_TOKENS)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw the people and the year, and records."""
        people = rng.sample(PEOPLE, self.people)
        facts: dict[str, Any] = {"people": people, "now": rng.choice(_YEARS_NOW)}
        trellis = self._trellis(facts)
        years = self._years()
        slots = {
            "length": str(self.length),
            "people": ", ".join(people),
            "first": str(years[0]),
            "last": str(years[-1]),
            "now": str(facts["now"]),
            "form": json.dumps(_person(_SHOWN_NAME, years[-1], facts["now"])),
        }
        return Question(slots, trellis.text(trellis.draw(rng)), facts)

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all lists of records."""
        return self._trellis(sample.facts)

    def _years(self) -> range:
        return range(_FIRST_YEAR, _FIRST_YEAR + 10 * self.decades)

    def _trellis(self, facts: Mapping[str, Any]) -> TextTrellis:
        return _people_trellis(tuple(facts["people"]), self._years(), facts["now"], self.length)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last JSON list of objects in ``reply``."""
        records = _last_list(reply)
        if records is None:
            return Marks(0.0, 0.0, UNREADABLE)
        problem = self._problem(sample, records)
        if problem is not None:
            return Marks(0.0, 0.0, problem)
        now = sample.facts["now"]
        text = json.dumps([_person(record["name"], record["born"], now) for record in records])
        return Marks(float(reply.strip() == text), 1.0)

    def _problem(self, sample: Sample, records: Sequence[Any]) -> str | None:
        if len(records) != self.length:
            return "wrong count"
        now = sample.facts["now"]
        if not _has_keys(records, tuple(_person(_SHOWN_NAME, now, now))):
            return "wrong keys"
        if not all(record["name"] in sample.facts["people"] for record in records):
            return "unknown name"
        years = self._years()
        return _first(
            {
                "wrong initials": any(
                    record["initials"] != _initials(record["name"]) for record in records
                ),
                "wrong e-mail": any(
                    record["email"] != _address(record["name"]) for record in records
                ),
                "no such year": any(
                    type(record["born"]) is not int or record["born"] not in years
                    for record in records
                ),
                "wrong age": any(
                    not isinstance(record["born"], int)
                    or not _is_number(record["age"], now - record["born"])
                    for record in records
                ),
            }
        )


def _last_list(reply: str) -> list[Any] | None:
    """Return the last JSON list of objects in ``reply``; None if it cannot be read."""
    starts = [match.start() for match in _LIST_OF_OBJECTS.finditer(reply)]
    if not starts:
        return None
    try:
        found, _ = _DECODER.raw_decode(reply, starts[-1])
    except (ValueError, RecursionError):  # not JSON, a number of too many digits, or too deep
        return None
    return found if isinstance(found, list) else None


# --- Orders -----------------------------------------------------------------------------


def _order(item: str, quantity: int, price: int) -> dict[str, Any]:
    return {"item": item, "price": price, "quantity": quantity, "total": quantity * price}


@lru_cache(maxsize=64)
def _orders_trellis(
    prices: tuple[tuple[str, int], ...], quantities: int, length: int
) -> TextTrellis:
    # A node between two orders is the sum so far; within an order, the item or total beside it.
    price_of = dict(prices)
    sums = [0]
    stages = [Stage([Edge(START, '{"item": "', 0)])]
    for number in range(length):
        with_item = [(paid, item) for paid in sums for item in price_of]
        chosen = [
            ((paid, item), count, (paid + count * price_of[item], count * price_of[item]))
            for paid, item in with_item
            for count in range(1, quantities + 1)
        ]
        with_total = sorted({node for _, _, node in chosen})
        if number:
            stages.append(constant_stage('\n{"item": "', sums))
        stages += [
            Stage(Edge(node[0], node[1], node) for node in with_item),
            constant_stage('", "price":', with_item),
            Stage(Edge(node, f" {price_of[node[1]]}", node) for node in with_item),
            constant_stage(', "quantity":', with_item),
            Stage(Edge(node, f" {count}", after) for node, count, after in chosen),
            constant_stage(', "total":', with_total),
            Stage(Edge(node, f" {node[1]}", node[0]) for node in with_total),
        ]
        sums = sorted({paid for paid, _ in with_total})
        stages.append(constant_stage("}", sums))
    stages += [
        constant_stage('\n{"grand_total":', sums),
        Stage(Edge(total, f" {total}", START) for total in sums),
        constant_stage("}"),
    ]
    return TextTrellis(stages)


@TASKS.register("records/orders")
@dataclass(frozen=True, kw_only=True)
class Orders(TrellisTask):
    """Ask for orders as JSON lines with totals that agree; all of them are equally likely.

    Attributes:
        length: Number of orders.
        items: Number of items offered, each with a price.
        quantities: Largest quantity.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "records/orders"
    words: ClassVar[tuple[str, ...]] = (
        *("item", "quantity", "price", "total", "grand"),
        *ITEMS,
    )
    templates: ClassVar[dict[str, str]] = {
        "default": "Make up {length} orders for a test. The items and their prices are: {prices}. "
        "Take each item at random, where one may come again, and each quantity at random from 1 to "
        "{quantities}. Reply with JSON lines and nothing else: a line for each order, and a last "
        "one with the sum of all totals. They have this form:\n{form}",
        "terse": "{length} random orders as JSON lines, then their grand total, in this form:\n"
        "{form}\nPrices: {prices}; quantities from 1 to {quantities}; items may repeat:",
        "story": "The till of a shop that sells {prices} is being tried out with {length} made-up "
        "orders. In each of them somebody buys 1 to {quantities} pieces of one item, all chosen at "
        "random and perhaps more than once. Write down what the till should print, one JSON line "
        "an order and one for the sum, without a word around it, like this:\n{form}",
    }

    length: int = whole(1, 5, "orders", most=40)
    items: int = whole(1, 4, "items", most=len(_PRICES))
    quantities: int = whole(1, 3, "pieces", most=_MOST_QUANTITY)
    canvas_length: int = whole(1, 256, "tokens", most=MOST_TOKENS)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw the items and their prices, and orders.

        Raises:
            NotEnumerableError: The sums so far may be too many.
        """
        most = 1 + (self.length - 1) * self.quantities * (_PRICES[-1] // _PRICES.step)
        states = most * self.items * self.quantities
        if states > _MOST_STATES:
            raise NotEnumerableError(
                f"{self.length} orders of {self.items} items and up to {self.quantities} pieces "
                f"have up to {states:,} sums so far with an item and a quantity, over the limit of "
                f"{_MOST_STATES:,}; ask for fewer orders or items"
            )
        prices = list(
            zip(rng.sample(ITEMS, self.items), rng.sample(_PRICES, self.items), strict=True)
        )
        facts = {"prices": [list(pair) for pair in prices]}
        trellis = self._trellis(facts)
        form = [_order("table", 1, 10), {"grand_total": 10}]
        slots = {
            "length": str(self.length),
            "prices": ", ".join(f"{item} {price}" for item, price in prices),
            "quantities": str(self.quantities),
            "form": "\n".join(map(json.dumps, form)),
        }
        return Question(slots, trellis.text(trellis.draw(rng)), facts)

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all orders: the state is the sum so far."""
        return self._trellis(sample.facts)

    def _trellis(self, facts: Mapping[str, Any]) -> TextTrellis:
        prices = tuple((item, price) for item, price in facts["prices"])
        return _orders_trellis(prices, self.quantities, self.length)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last grand total in ``reply`` and the objects before it."""
        lines = _last_orders(reply)
        if lines is None:
            return Marks(0.0, 0.0, UNREADABLE)
        prices, (*orders, end) = dict(sample.facts["prices"]), lines
        problem = self._problem(prices, orders, end)
        if problem is not None:
            return Marks(0.0, 0.0, problem)
        rows = [_order(each["item"], each["quantity"], prices[each["item"]]) for each in orders]
        text = "\n".join(map(json.dumps, [*rows, end]))
        return Marks(float(reply.strip() == text), 1.0)

    def _problem(
        self, prices: Mapping[str, int], orders: Sequence[Any], end: Mapping[str, Any]
    ) -> str | None:
        if len(orders) != self.length:
            return "wrong count"
        if not _has_keys(orders, tuple(_order("", 0, 0))) or not _has_keys([end], ["grand_total"]):
            return "wrong keys"
        if not all(isinstance(each["item"], str) and each["item"] in prices for each in orders):
            return "unknown item"
        quantities = range(1, self.quantities + 1)
        if not all(
            type(each["quantity"]) is int and each["quantity"] in quantities for each in orders
        ):
            return "no such quantity"
        rows = [
            (each, _order(each["item"], each["quantity"], prices[each["item"]])) for each in orders
        ]
        total = sum(right["total"] for _, right in rows)
        return _first(
            {
                "wrong price": any(
                    not _is_number(each["price"], right["price"]) for each, right in rows
                ),
                "wrong total": any(
                    not _is_number(each["total"], right["total"]) for each, right in rows
                ),
                "wrong grand total": not _is_number(end["grand_total"], total),
            }
        )


def _last_orders(reply: str) -> list[dict[str, Any]] | None:
    """Return the last object with a grand total and those before it, back to another such one."""
    found: list[dict[str, Any]] = []
    for match in _FLAT_OBJECT.finditer(reply):
        try:
            value = _DECODER.decode(match.group())
        except (ValueError, RecursionError):
            continue
        found.append(value)
    ends = [number for number, each in enumerate(found) if "grand_total" in each]
    if not ends:
        return None
    start = ends[-2] + 1 if len(ends) > 1 else 0
    return found[start : ends[-1] + 1]
