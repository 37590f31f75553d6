"""Services that every other service of a Hansa league stands on: sites, identity, search, delivery.

They exist so that no business service answers again whose site this is, who calls or where it runs.
What must never happen: a dependency on a business service, or one site's failure felt by another.
"""
