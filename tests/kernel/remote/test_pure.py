"""The decisions of calls between processes: where to, signed by whom, how often, to which one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Principal
from hansa.kernel.remote.budget import FLOOR, SHARE, Budget
from hansa.kernel.remote.following import Step, next_step
from hansa.kernel.remote.health import FIRST_S, LEAVING_S, LONGEST_S, Target, choose
from hansa.kernel.remote.passport import GOOD_S, SKEW_S, PassportRefused, Seal
from hansa.kernel.remote.placement import Address, PlacementInvalid, read_placement

KEY, OTHER = b"k" * 32, b"o" * 32
NOW_US = 1_700_000_000_000_000

TWO = """
[processes.home]
urls = ["http://127.0.0.1:8400", "http://[::1]:8401/"]
services = ["sites", "search"]
[processes.shop]
urls = ["http://shop.internal:80"]
services = ["commerce"]
cell = "home"
"""


# ---- placement


def test_a_placement_tells_where_each_service_is() -> None:
    placement = read_placement(TWO)
    shop = placement.of("commerce")
    assert shop is not None
    assert (shop.name, shop.cell, shop.addresses) == (
        "shop",
        "home",
        (Address("shop.internal", 80),),
    )
    home = placement.own(["search", "sites"])
    assert home.addresses == (Address("127.0.0.1", 8400), Address("::1", 8401))
    assert home.cell == "home"
    assert placement.of("nobody") is None
    with pytest.raises(PlacementInvalid, match="no entry serves just sites"):
        placement.own(["sites"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "processes"),
        ("x = 1", "processes"),
        ("[processes", "not TOML"),
        ("[processes]", "1 to"),
        ("[processes.A]\nurls=['http://a:1']\nservices=['x']", "a name is of"),
        ("[processes.a]\nurls=['http://a:1']\nservices=['x']\nport=1", "urls, services"),
        ("[processes.a]\nurls=[]\nservices=['x']", "urls is a list"),
        ("[processes.a]\nurls='http://a:1'\nservices=['x']", "urls is a list"),
        ("[processes.a]\nurls=['http://a:1']\nservices=[1]", "services is a list"),
        ("[processes.a]\nurls=['http://a:1']\nservices=['x']\ncell=''", "cell is a name"),
        ("[processes.a]\nurls=['https://a:1']\nservices=['x']", "is not like"),
        ("[processes.a]\nurls=['http://a']\nservices=['x']", "is not like"),
        ("[processes.a]\nurls=['http://a:1/path']\nservices=['x']", "is not like"),
        ("[processes.a]\nurls=['http://u@a:1']\nservices=['x']", "is not like"),
        ("[processes.a]\nurls=['http://a:99999']\nservices=['x']", "is not like"),
        (
            "[processes.a]\nurls=['http://a:1']\nservices=['x']\n"
            "[processes.b]\nurls=['http://b:1']\nservices=['x']\ncell='a'",
            "served by a and b on one cell",
        ),
    ],
)
def test_what_is_no_placement_is_told(text: str, why: str) -> None:
    with pytest.raises(PlacementInvalid, match=why):
        read_placement(text)


# ---- passports

names = st.text("abcdefghijklmnopqrstuvwxyz_.:*é", min_size=1, max_size=30)
principals = st.builds(
    Principal, names, st.frozensets(names, max_size=5), st.sampled_from(["key", "public"]), names,
    st.just("") | names, st.just("") | names,
)  # fmt: skip


@given(principals, names, names, st.booleans())
def test_what_is_signed_is_read_and_nothing_else(
    who: Principal, site: str, operation: str, inside: bool
) -> None:
    text = Seal([KEY]).sign(who, site, operation, inside=inside, now_us=NOW_US)
    text.encode("ascii")
    found = Seal([OTHER, KEY]).open(text, operation, NOW_US)
    assert (found.principal(), found.site, found.inside) == (who, site, inside)
    assert found.principal().address == who.address, "it is no part of who somebody is"
    with pytest.raises(PassportRefused):
        Seal([OTHER]).open(text, operation, NOW_US)
    with pytest.raises(PassportRefused):
        Seal([KEY]).open(text, operation + "x", NOW_US)


@given(st.integers(0, 400), st.integers(1, 255))
def test_one_changed_byte_is_refused(place: int, by: int) -> None:
    text = Seal([KEY]).sign(SYSTEM, "s", "a.b", inside=True, now_us=NOW_US)
    data = bytearray(text.encode())
    data[place % len(data)] ^= by
    with pytest.raises(PassportRefused):
        Seal([KEY]).open(data.decode("latin-1"), "a.b", NOW_US)


@pytest.mark.parametrize("text", ["", ".", "a.b", "x" * 20_000, "é.é", "e30=." + "A" * 43])
def test_what_is_no_passport_is_refused(text: str) -> None:
    with pytest.raises(PassportRefused):
        Seal([KEY]).open(text, "a.b", NOW_US)


def test_a_passport_has_a_time() -> None:
    seal = Seal([KEY])
    text = seal.sign(PUBLIC_PRINCIPAL, "s", "a.b", inside=False, now_us=NOW_US)
    for offset_s in (-SKEW_S, 0, GOOD_S, GOOD_S + SKEW_S):
        seal.open(text, "a.b", NOW_US + int(offset_s * 1e6))
    for offset_s in (-SKEW_S - 1, GOOD_S + SKEW_S + 1):
        with pytest.raises(PassportRefused):
            seal.open(text, "a.b", NOW_US + int(offset_s * 1e6))


@pytest.mark.parametrize("keys", [[], [b"short"], [KEY, b""]])
def test_a_weak_key_signs_nothing(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Seal(keys)


# ---- budgets


@given(st.lists(st.booleans(), max_size=2_000))
def test_second_tries_are_a_share_of_the_first(calls: list[bool]) -> None:
    budget = Budget()
    first = second = 0
    for again in calls:
        if again:
            second += budget.take()
        else:
            budget.sent()
            first += 1
    assert second <= FLOOR + first * SHARE + 1e-6


# ---- health


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=6))
def test_the_one_with_the_fewest_calls_is_asked(found: list[tuple[int, int]]) -> None:
    targets = [
        Target(number, under_way, failures) for number, (under_way, failures) in enumerate(found)
    ]
    for one in targets:
        one.shut_until = 5.0 if one.failures else 0.0
    chosen = choose(targets, 1.0, 3)
    healthy = [one for one in targets if not one.failures]
    if not healthy:
        assert chosen is None
    else:
        assert chosen in healthy
        assert chosen.under_way == min(one.under_way for one in healthy)


def test_equal_ones_are_asked_in_turn() -> None:
    targets = [Target(number) for number in range(3)]
    asked = [choose(targets, 0.0, turn) for turn in range(6)]
    assert [one.what for one in asked if one] == [0, 1, 2, 0, 1, 2]


def test_one_call_tries_whether_a_target_is_back() -> None:
    target = Target("a")
    target.failed(0.0)
    assert choose([target], FIRST_S / 2, 0) is None
    assert choose([target], FIRST_S, 0) is target
    target.under_way = 1
    assert choose([target], FIRST_S, 0) is None
    target.answered()
    assert choose([target], 0.0, 0) is target
    for _ in range(50):
        target.failed(100.0)
    assert target.shut_until == 100.0 + LONGEST_S


def test_one_that_leaves_is_asked_only_where_there_is_no_other() -> None:
    leaving, other = Target("a"), Target("b", under_way=9)
    leaving.leaves(0.0)
    assert choose([leaving, other], 0.0, 0) is other
    assert choose([leaving], 0.0, 0) is leaving
    other.failed(0.0)
    assert choose([leaving, other], 0.0, 0) is leaving
    assert choose([leaving, other], LEAVING_S + FIRST_S, 0) is leaving


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 9), min_size=1))
def test_what_is_copied_behind_catches_up(reached: dict[str, int]) -> None:
    """Each type is asked for from where it is; all come together, and nothing goes back."""
    end = max(reached.values())
    while len(set(reached.values())) > 1:
        step = next_step(reached)
        assert {reached[one] for one in step.types} == {step.after} == {min(reached.values())}
        assert step.after < step.until <= end
        reached = reached | dict.fromkeys(step.types, step.until)
    assert next_step(reached) == Step(end, tuple(sorted(reached)), 0)
