"""Refusals that only HTTP knows."""

from hansa.kernel.problems import Problem


class MethodNotAllowed(Problem):
    """The path is known, but not with this method (405)."""

    status = 405
    slug = "method-not-allowed"
    title = "The resource does not take this method"

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(f"{method} is not among {allow}.")
        self.allow = allow


class LengthRequired(Problem):
    """A body whose end cannot be told from a broken connection (411)."""

    status = 411
    slug = "length-required"
    title = "The body needs a Content-Length"


class TooLong(Problem):
    """A path or query over its limit (414)."""

    status = 414
    slug = "uri-too-long"
    title = "The path or query is too long"


class WrongMediaType(Problem):
    """A body that is not JSON by its own account, or is compressed (415)."""

    status = 415
    slug = "unsupported-media-type"
    title = "The body has a media type that is not taken here"


class BodyIncomplete(Problem):
    """The body ended before its announced end (400)."""

    status = 400
    slug = "body-incomplete"
    title = "The body ended too early"


class BodyTimeout(Problem):
    """The body took too long to arrive (408)."""

    status = 408
    slug = "body-timeout"
    title = "The body took too long to arrive"
