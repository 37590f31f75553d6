"""Plan: who wishes what and what goes wrong when, all of it drawn from a seed. Pure.

A plan is data, so that a run that breaks a promise can be had again with less in it.
"""

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from hansa.simulate.service import ACCOUNTS, ITEMS

LOAD_S: Final = (2.0, 8.0)
"""How long clients wish and things go wrong; then everything heals."""
WISHES: Final = (8, 24)
MISHAPS: Final = (0, 6)
PASSAGES: Final = (1, 5)
PASSAGE_S: Final = (0.2, 0.5, 1.0, 5.0)
FIRST_CELL: Final = 1
"""The node where the site is at the beginning."""
ROAMS: Final = 0.5
ROAMING_NODES_MIN: Final = 3

Verb = Literal["transfer", "reserve", "deposit", "ask"]
Kind = Literal["crash", "cut", "slow", "skew", "age", "full", "write-fails", "sync-fails"]
KINDS: Final[tuple[Kind, ...]] = (
    "crash", "crash", "crash", "cut", "cut", "slow", "skew", "age", "age", "full", "write-fails",
    "sync-fails",
)  # fmt: skip
VERBS: Final[tuple[Verb, ...]] = ("transfer", "transfer", "transfer", "reserve", "deposit", "ask")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants of a port at some time, at a node and, to read, at another one; `number`
    makes its key."""

    at_s: float
    number: int
    verb: Verb
    port: int
    node: int
    then: int
    account: str
    to_port: int
    to: str
    item: str
    amount: int
    lapse_ms: int
    again_s: float
    """After how long the answered wish is sent again under its key; 0 for never."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """What goes wrong with a node (and `other`, for a partition), and for how long."""

    at_s: float
    kind: Kind
    node: int
    other: int
    for_s: float


@dataclass(frozen=True, slots=True)
class Passage:
    """The site is to go to the cell of a node; who moves it dies after so long, if not done."""

    at_s: float
    to: int
    for_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a run that is no chance of the moment."""

    seed: int
    nodes: int
    roams: bool
    """Whether a site moves between the nodes, of which there are three at least."""
    load_s: float
    wishes: tuple[Wish, ...]
    mishaps: tuple[Mishap, ...]
    passages: tuple[Passage, ...] = ()


def plan_of(seed: int, nodes: int) -> Plan:
    """Return the plan of a seed for so many nodes."""
    chance = Random(f"plan {seed} {nodes}")
    roams = nodes >= ROAMING_NODES_MIN and chance.random() < ROAMS
    load_s = chance.uniform(*LOAD_S)
    wishes = [
        _wish(chance, number, nodes, load_s, roams) for number in range(chance.randint(*WISHES))
    ]
    mishaps = [_mishap(chance, nodes, load_s) for _ in range(chance.randint(*MISHAPS))]
    passages = _passages(chance, nodes, load_s) if roams else ()
    return Plan(
        seed, nodes, roams, load_s, tuple(sorted(wishes, key=lambda one: one.at_s)),
        tuple(sorted(mishaps, key=lambda one: one.at_s)),
        passages,
    )  # fmt: skip


def _passages(chance: Random, nodes: int, load_s: float) -> tuple[Passage, ...]:
    """Return passages of which each is to another node than the one before."""
    times = sorted(chance.uniform(0, load_s) for _ in range(chance.randint(*PASSAGES)))
    here, made = FIRST_CELL, list[Passage]()
    for at_s in times:
        here = chance.choice([node for node in range(1, nodes) if node != here])
        made.append(Passage(at_s, here, chance.choice(PASSAGE_S)))
    return tuple(made)


def _wish(chance: Random, number: int, nodes: int, load_s: float, roams: bool) -> Wish:
    many = 2 if roams else nodes
    port = chance.randrange(many)
    return Wish(
        # Many at once, so that they meet in one commit.
        at_s=round(chance.uniform(0, load_s), 1) + chance.random() * 0.01,
        number=number,
        verb=chance.choice(VERBS),
        port=port,
        node=chance.randrange(nodes) if roams else port,
        then=chance.randrange(nodes) if roams else port,
        account=chance.choice(ACCOUNTS),
        to_port=chance.randrange(many),
        to=chance.choice(ACCOUNTS),
        item=chance.choice(ITEMS),
        amount=chance.randint(1, 9),
        lapse_ms=chance.randint(1, 3_000),
        again_s=chance.choice((0.0, 0.001, 0.5, 3.0)),
    )


def _mishap(chance: Random, nodes: int, load_s: float) -> Mishap:
    node = chance.randrange(nodes)
    return Mishap(
        at_s=chance.uniform(0.02, load_s),
        kind=chance.choice(KINDS),
        node=node,
        other=(node + chance.randrange(1, max(2, nodes))) % nodes,
        for_s=chance.choice((0.01, 0.2, 1.0, 4.0)) * chance.uniform(0.5, 1.5),
    )
