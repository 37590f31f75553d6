"""Moving: a site goes from one cell to another of its league, while it is called.

It exists so that where a site's rows are is a choice that can be changed any day. The site is
fenced where it is, copied as one unit, and from one commit on it is in the other cell; requests
wait meanwhile. What must never happen here: two cells that both write for a site, none that will
ever do so again, or an event that is lost or doubled on the way.
"""
