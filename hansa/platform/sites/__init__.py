"""Sites are the tenants: each has its hosts, its keys, its settings, its currency, zone and clock.

Everything else in Hansa belongs to a site, so this service says which sites there are and who may
act on them. It is owned by the platform team. Its rows have the scope platform: they live in one
home cell, and every process keeps what it needs of them in small caches (module directory).

What must never happen here:
- a key that opens another site than its own, or that still works long after it was revoked;
- a host that leads to two sites;
- a secret, of a key or of a setting, that can be read back;
- a clock of a real site that somebody can move.
"""

from hansa.kernel.service import Service

sites = Service("sites", owner="platform")
"""The service; its handlers are in `hansa.platform.sites.api`."""
