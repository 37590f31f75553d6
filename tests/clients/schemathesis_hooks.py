"""What Schemathesis checks besides its own: a request that fits the description is well formed.

A refusal with 400 says that a request is malformed, so one that fits is not refused so, except for
what no schema can say: an opaque text that no answer gave, a signature, and a whole number that is
written with a fraction (`5.0`, see docs/http.md).
"""

from typing import Any

from schemathesis import Case, CheckContext, Response, check

OPAQUE = ("invalid-cursor", "invalid-position", "invalid-webhook")
FRACTION = "Expected `int`, got `float`"


@check
def what_fits_is_well_formed(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Refuse a 400 to a request that fits."""
    drawn = case.meta
    if drawn is None or not drawn.generation.mode.is_positive or response.status_code != 400:
        return
    problem = response.json()
    slug = problem["type"].rpartition("/")[2]
    if slug not in OPAQUE and not problem["detail"].endswith(FRACTION):
        raise AssertionError(f"It fits, and was refused with 400: {slug}")
