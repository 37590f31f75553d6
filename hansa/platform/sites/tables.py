"""What is kept of sites: the sites, their hosts, their keys, their settings."""

from hansa.kernel.columns import binary, boolean, enum, instant, integer, json, text
from hansa.platform.sites import sites as service
from hansa.platform.sites.settings import SEAL_PURPOSE

sites = service.table(
    "sites",
    text("id", primary=True),
    text("name"),
    enum("state", ("active", "suspended", "closed")),
    text("locale"),
    text("currency"),
    text("zone"),
    boolean("test_clock"),
    integer("slot"),  # by hash of the id, or its own when the site is pinned
    integer("epoch"),  # rises when the site moves; writes with an older one are refused
    text("cell", default=""),  # where its rows are; "" is the first that serves a service
    enum("move", ("none", "to", "from"), default="none"),  # see `moves`
    text("move_cell", default=""),  # of a move: the cell it goes to, or came from
    instant("created_at"),
    instant("changed_at"),
    scope="platform",
    of_site="id",
    index=[("zone", "id")],
)

hosts = service.table(
    "hosts",
    text("host", primary=True),
    text("site_id"),
    instant("created_at"),
    scope="platform",
    of_site="site_id",
    index=[("site_id", "host")],
    foreign=[("site_id", sites)],
)

keys = service.table(
    "keys",
    text("id", primary=True),
    text("site_id"),  # or "platform": an operator's key
    text("name"),
    text("hash"),  # SHA-256 of the secret, in hexadecimal
    json("permissions"),
    instant("expires_at", nullable=True),
    instant("revoked_at", nullable=True),
    instant("created_at"),
    scope="platform",
    of_site="site_id",
    index=[("site_id", "id")],
)

settings = service.table(
    "settings",
    text("site_id", primary=True),
    text("name", primary=True),
    binary("value"),  # JSON, sealed when the setting is secret
    boolean("is_sealed"),
    instant("changed_at"),
    scope="platform",
    of_site="site_id",
    foreign=[("site_id", sites)],
)

service.seals(settings, "value", SEAL_PURPOSE, site="site_id")
