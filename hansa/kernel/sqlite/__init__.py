"""SQLite as a cell's storage: one file, one process, one writer, many commands to an fsync.

A command costs microseconds and an fsync costs much more, so commands share it: they run one after
another on the event loop inside one transaction, each in a savepoint of its own, and a thread
commits them together while the next ones queue. Reads run on connections of their own.

What must never happen here:
- an answer, or a refusal, before what it rests on is on the disk;
- one command's failure undoing a sibling that was answered;
- a statement outside of its transaction, after the engine rolled it back by itself;
- a slow statement that holds up everybody else on the loop.
"""

from hansa.kernel.sqlite.storage import SqliteStorage

__all__ = ["SqliteStorage"]
