"""The rules of delivery by properties: in order, once, queue behind, parked until by hand."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from hansa.kernel import delivery
from hansa.kernel.delivery import Delivery

BACKOFF_S = (1.0, 5.0)
AGGREGATES = ("a", "b")

states = st.sampled_from(["waiting", "queued", "parked", "skipped"])
rows = st.builds(Delivery, st.integers(1, 50), states, st.integers(0, 5), st.integers(0, 10_000))


@given(st.lists(rows))
def test_the_head_is_the_first_that_is_open(all_rows: list[Delivery]) -> None:
    head = delivery.head(all_rows)
    still_open = [one for one in all_rows if one.state != "skipped"]
    if head is None:
        assert not still_open
    else:
        assert head in still_open
        assert head.position == min(one.position for one in still_open)


@given(rows, st.integers(0, 20_000))
def test_only_what_waits_is_tried_and_not_before_its_time(row: Delivery, now_us: int) -> None:
    if delivery.ready(row, now_us):
        assert row.state == "queued" or (row.state == "waiting" and row.ready_at_us <= now_us)
    else:
        assert row.state in ("parked", "skipped") or row.ready_at_us > now_us


@given(st.lists(st.floats(0, 86_400), max_size=6), st.integers(0, 2**50))
def test_with_n_waits_there_are_n_more_tries(waits: list[float], now_us: int) -> None:
    attempt, tries, last_us = 0, 0, now_us
    while True:
        state, attempt, ready_us = delivery.failed(attempt, last_us, waits)
        tries += 1
        assert attempt == tries
        assert ready_us >= last_us
        if state == "parked":
            break
        assert ready_us == last_us + int(waits[tries - 1] * 1_000_000)
        last_us = ready_us
    assert tries == len(waits) + 1


@given(st.integers(0, 100), st.integers(0, 2**50), st.floats(0.001, 3600))
def test_what_is_postponed_never_counts(attempt: int, now_us: int, wait_s: float) -> None:
    state, after, ready_us = delivery.postponed(attempt, now_us, wait_s)
    assert (state, after) == ("waiting", attempt)
    assert ready_us == now_us + int(wait_s * 1_000_000)


class Subscriber(RuleBasedStateMachine):
    """One subscriber driven by the pure rules, and a model of what it owes to each aggregate."""

    failing = Bundle("failing")

    @initialize()
    def begin(self) -> None:
        self.now_us = 0
        self.position = 0
        self.emitted: dict[str, list[int]] = {name: [] for name in AGGREGATES}
        self.effects: dict[str, list[int]] = {name: [] for name in AGGREGATES}
        self.rows: dict[str, list[Delivery]] = {name: [] for name in AGGREGATES}
        self.by_hand: set[int] = set()
        self.tries: dict[int, int] = {}

    def _open(self, name: str) -> Delivery | None:
        return delivery.head(self.rows[name])

    def _try(self, position: int) -> None:
        self.tries[position] = self.tries.get(position, 0) + 1

    @rule(name=st.sampled_from(AGGREGATES), works=st.booleans())
    def emit(self, name: str, works: bool) -> None:
        self.position += 1
        self.emitted[name].append(self.position)
        if delivery.admit(self._open(name) is not None) == "queue":
            self.rows[name].append(Delivery(self.position, "queued", 0, 0))
            return
        self._try(self.position)
        if works:
            self.effects[name].append(self.position)
        else:
            verdict = delivery.failed(0, self.now_us, BACKOFF_S)
            self.rows[name].append(Delivery(self.position, *verdict))

    @rule(seconds=st.sampled_from([0.5, 1, 5]))
    def wait(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)

    @rule(name=st.sampled_from(AGGREGATES), works=st.booleans(), known=st.booleans())
    def retry(self, name: str, works: bool, known: bool) -> None:
        head = self._open(name)
        if head is None or not delivery.ready(head, self.now_us):
            return
        self.rows[name].remove(head)
        if not known:
            verdict = delivery.postponed(head.attempt, self.now_us, 60)
            self.rows[name].append(Delivery(head.position, *verdict))
            return
        self._try(head.position)
        if works:
            self.effects[name].append(head.position)
        else:
            verdict = delivery.failed(head.attempt, self.now_us, BACKOFF_S)
            self.rows[name].append(Delivery(head.position, *verdict))

    @precondition(lambda self: any(self._parked(name) for name in AGGREGATES))
    @rule(name=st.sampled_from(AGGREGATES), skip=st.booleans())
    def decide(self, name: str, skip: bool) -> None:
        head = self._parked(name)
        if head is None:
            return
        self.rows[name].remove(head)
        if skip:
            self.by_hand.add(head.position)
            self.rows[name].append(Delivery(head.position, "skipped", 0, 0))
        else:
            self.tries[head.position] = 0
            self.rows[name].append(Delivery(head.position, "waiting", 0, self.now_us))

    def _parked(self, name: str) -> Delivery | None:
        head = self._open(name)
        return head if head is not None and head.state == "parked" else None

    @invariant()
    def effects_are_in_order_and_once(self) -> None:
        for name in AGGREGATES:
            taken = self.effects[name]
            assert taken == sorted(set(taken))

    @invariant()
    def nothing_is_lost(self) -> None:
        for name in AGGREGATES:
            left = {one.position for one in self.rows[name] if one.state != "skipped"}
            done = set(self.effects[name])
            assert left | done | (self.by_hand & set(self.emitted[name])) == set(self.emitted[name])
            assert not left & done

    @invariant()
    def what_is_open_queues_behind_its_head(self) -> None:
        for name in AGGREGATES:
            head = self._open(name)
            if head is None:
                continue
            behind = [one for one in self.rows[name] if one.position > head.position]
            assert all(one.state in ("queued", "skipped") for one in behind)
            assert all(position < head.position for position in self.effects[name])

    @invariant()
    def tries_are_bounded(self) -> None:
        assert all(count <= len(BACKOFF_S) + 1 for count in self.tries.values())


TestSubscriber = Subscriber.TestCase


@given(st.lists(st.floats(0.01, 100), max_size=6))
def test_what_ran_out_of_time_is_tried_longer_but_parked_in_the_end(backoff_s: list[float]) -> None:
    waits = delivery.patient(backoff_s)
    assert waits[: len(backoff_s)] == tuple(backoff_s)
    state, attempt, tries = "waiting", 0, 0
    while state == "waiting":
        state, attempt, _ = delivery.failed(attempt, 0, waits)
        tries += 1
    assert state == "parked"
    assert tries == len(backoff_s) + delivery.SLOW_TRIES + 1
