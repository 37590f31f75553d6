"""Having: which sites have rows in a table, found by leaping along its key, not by reading it."""

from typing import Final

from hansa.console.visit import Visit
from hansa.kernel.problems import NotFound

SITES_MAX: Final = 100
"""Sites that are offered to choose from; others are reached from their own page."""

_LEAPS = """WITH RECURSIVE found(site, n) AS (
  SELECT (SELECT min(site) FROM {table}), 1
  UNION ALL
  SELECT (SELECT min(site) FROM {table} AS t WHERE t.site > found.site), n + 1
  FROM found WHERE found.site IS NOT NULL AND n < ?1
) SELECT site FROM found WHERE site IS NOT NULL"""


async def sites_having(visit: Visit, table: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the site that is asked for, else the first, "" for none; and those to choose from,
    with their names. Raises NotFound where the table's service does not run in this process."""
    service = table.partition("_")[0]
    if not visit.runtime.serves(service):
        raise NotFound(f"The service {service} does not run here: look at the pages of the process"
                       " that serves it.")  # fmt: skip
    found = [str(row[0]) for row in await visit.rows(_LEAPS.format(table=table), SITES_MAX)]
    chosen = visit.asked("site") or (found[0] if found else "")
    if chosen and chosen not in found:
        found.insert(0, chosen)
    return chosen, [(one, (await visit.runtime.site(one)).name or one) for one in found]
