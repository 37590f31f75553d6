"""What Schemathesis checks besides its own: a request that fits the description is well formed.

A refusal with 400 says that a request is malformed, so one that fits is not refused so, except for
what no schema can say (see docs/http.md).
"""

from typing import Any

from schemathesis import Case, CheckContext, Response, check

OPAQUE = ("invalid-cursor", "invalid-position", "invalid-webhook")
"""A text that only an answer can give, or a signature."""
NUMBERS = ("number-too-large",)
"""A number of more than 64 bits within a value that may be anything."""
FRACTION = ("Expected `int`, got `float`", "Expected `int | null`, got `float`")
"""A whole number that is written with a fraction, as 5.0."""
WHOLE = "The body: "
"""How several members of one body stand to each other."""


@check
def what_fits_is_well_formed(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Refuse a 400 to a request that fits."""
    drawn = case.meta
    if drawn is None or not drawn.generation.mode.is_positive or response.status_code != 400:
        return
    problem = response.json()
    slug, detail = problem["type"].rpartition("/")[2], problem["detail"]
    if slug in OPAQUE + NUMBERS or detail.endswith(FRACTION) or detail.startswith(WHOLE):
        return
    raise AssertionError(f"It fits, and was refused with 400: {slug}")
