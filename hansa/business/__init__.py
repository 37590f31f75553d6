"""Services for the owner of a site: what a website business sells, bills and manages.

They exist so that a shop, a studio or a club has on its first day what large ones built for years.
What must never happen: one service that reads another one's tables, or imports more than its `api`.
"""
