"""Observing: what every request, delivery and due work did, how long it took, and what of it is
kept to be looked at.

Recording happens on the event loop and costs some microseconds; all else (choosing texts, encoding,
writing, exporting) happens in threads, on what was chosen to be kept. What must never happen here:
a request that waits for, or fails by, being observed; a secret that is kept; or a file or a queue
without a bound.
"""
