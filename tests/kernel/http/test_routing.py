"""Routes: what is found, against trying every template in turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.http.refusals import MethodNotAllowed
from hansa.kernel.http.routing import Router
from hansa.kernel.problems import NotFound

PARTS = st.sampled_from(["a", "b", "{x}", "{y}"])
TEMPLATES = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
METHODS = st.sampled_from(["GET", "POST"])
PATHS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=5).map("/".join)


def shape(template: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in template.split("/"))


def fits(template: str, path: str) -> list[str] | None:
    """Return the values of a template's parameters in a path, or None."""
    parts, wanted = path.split("/"), template.split("/")
    if len(parts) != len(wanted):
        return None
    values: list[str] = []
    for part, want in zip(parts, wanted, strict=True):
        if want.startswith("{") and part:
            values.append(part)
        elif part != want:
            return None
    return values


@given(st.lists(st.tuples(METHODS, TEMPLATES), max_size=8), METHODS, PATHS)
def test_against_every_template_in_turn(
    routes: list[tuple[str, str]], method: str, path: str
) -> None:
    router: Router[str] = Router()
    known = {(method, shape(template)): template for method, template in routes}
    for (verb, _), template in known.items():
        router.add(verb, template, template)
    fitting = [
        (template, verb, values)
        for (verb, _), template in known.items()
        if (values := fits(template, path)) is not None
    ]
    # Literals win, from the left; then only the methods of that shape count.
    fitting.sort(key=lambda one: [part.startswith("{") for part in one[0].split("/")])
    here = [one for one in fitting if shape(one[0]) == shape(fitting[0][0])]
    right = [(template, values) for template, verb, values in here if verb == method]
    try:
        found = router.find(method, path)
    except NotFound:
        assert not fitting
    except MethodNotAllowed as refusal:
        assert not right
        verbs = {verb for _, verb, _ in here} | {"OPTIONS"}
        assert refusal.allow.split(", ") == sorted(verbs | ({"HEAD"} if "GET" in verbs else set()))
    else:
        assert found == right[0]


@pytest.mark.parametrize("template", ["a", "/a/", "//a", "/a{b}", "/{b", "/{a b}", "/{}"])
def test_bad_templates(template: str) -> None:
    with pytest.raises(ValueError, match="route"):
        Router[str]().add("GET", template, "")


def test_a_route_is_taken_once() -> None:
    router: Router[str] = Router()
    router.add("GET", "/a/{b}", "first")
    with pytest.raises(ValueError, match="taken"):
        router.add("GET", "/a/{c}", "second")


def test_what_is_added_when_it_is_asked_for() -> None:
    asked: list[str] = []

    def more(part: str) -> bool:
        asked.append(part)
        if part == "a" and asked.count("a") == 1:
            router.add("GET", "/a/{b}", "one")
            router.add("GET", "/a/b/c", "two")
        return part == "a" and asked.count("a") == 1

    router: Router[str] = Router(more)
    assert router.find("GET", "/a/b/c") == ("two", [])
    assert router.find("GET", "/a/x") == ("one", ["x"])
    for path in ("/a/x/y", "/b", "", "/"):
        with pytest.raises(NotFound):
            router.find("GET", path)
    assert asked == ["a", "a", "b", ""]
