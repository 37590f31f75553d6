"""Places: the pages that there are, as the way around names them. Pure."""

from hansa.kernel.runtime import Runtime

Group = tuple[str, list[tuple[str, str]]]
"""A title, and the paths below the mount with the names of their pages."""


def groups(runtime: Runtime) -> list[Group]:
    """Return the pages by what they are for; those of services only where these are."""
    of_services = [
        (path, name)
        for path, name, is_there in (
            ("/search", "Search", "search.list_collections" in runtime.by_id),
            ("/webhooks", "Webhooks", runtime.serves("webhooks")),
            ("/mail", "Mail", runtime.serves("mail")),
        )
        if is_there
    ]
    return [
        ("", [("/", "Overview")]),
        ("Build", [("/services", "Services"), ("/api", "API")]),
        ("Watch", [("/traces", "Traces"), ("/statements", "Statements"), ("/log", "Log"),
                   ("/deliveries", "Deliveries"), ("/due", "Due work")]),
        ("Run", [("/sites", "Sites"), *of_services, ("/cells", "Cell")]),
    ]  # fmt: skip
