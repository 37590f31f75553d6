"""Remote: the same services in several processes, each on a database of its own or a shared one.

It exists so that a service can move to another process without a change of its code: calls, due
work and events mean the same on either side. What must never happen here: a principal that nobody
signed, a call that takes effect twice, or a wait beyond the caller's deadline.
"""
