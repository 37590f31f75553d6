"""Messages: what a mover and two cells tell each other."""

from typing import Annotated, Any, Final

from msgspec import Meta

from hansa.kernel.moving.protocol import Residence, Row
from hansa.kernel.problems import Conflict
from hansa.kernel.structs import Struct

PATH: Final = "/_hansa/moving/"

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Epoch = Annotated[int, Meta(ge=1)]


class MoveOutOfTurn(Conflict):
    """A message of a move that is over, or not as far (409)."""

    slug = "move-out-of-turn"
    title = "The site is not where this move has it"


class Ask(Struct):
    """What is asked of a cell about a site in a move."""

    site: Name
    epoch: Epoch


class Take(Struct):
    """Fetch a site from another cell."""

    site: Name
    epoch: Epoch
    source: Name


class Want(Struct):
    """The next rows: of which tables, by their places, and behind which key of the first."""

    site: Name
    epoch: Epoch
    tables: Annotated[list[int], Meta(max_length=10_000)]
    after: tuple[Any, ...] | None = None


class Sight(Struct):
    """What a cell keeps of a site. `outside` is where what rows of a table stand for is kept, and
    whether there are any of this site: that does not move."""

    state: Residence | None
    epoch: int
    token: int
    outside: dict[str, tuple[str, bool]]
    finished: bool = True
    """Whether what was asked for is done; else it is to be asked again."""
    rows: int = 0

    @property
    def row(self) -> Row | None:
        """Return it as the protocol has it."""
        return None if self.state is None else Row(self.state, self.epoch, self.token)


class Begin(Struct):
    """What a copy begins with (see `sitefile.Head`); `at_us` is when the site was fenced,
    `followed` how far the cell had followed others by then, and `filled` the places of the tables
    that have rows of the site."""

    tables: dict[str, list[str]]
    passed: dict[str, int]
    followed: dict[str, int]
    at_us: int
    filled: list[int]


class Part(Struct):
    """Rows of one table."""

    table: str
    rows: list[list[Any]]


class Piece(Struct):
    """Some of the rows, and the tables that have more, behind a key of the first."""

    parts: list[Part]
    tables: list[int] = []
    after: tuple[Any, ...] | None = None
