"""The engineers' pages: what runs here, what happened and what hangs, for those on duty.

They are read by whoever holds a key of the platform, at three in the morning and on a phone. What
must never happen here: a row of any site shown to who may not read all sites, a change that the
person on duty did not ask for, a secret, or text of a stranger that a browser takes for a page.
"""

from hansa.console.door import MOUNT, Door

__all__ = ["MOUNT", "Door"]
