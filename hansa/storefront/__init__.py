"""The storefront: a site's shop for its visitors, over the API that everybody may call.

It shows what can be made of that API: whatever these pages do, a shop of somebody else's making can
do too. What must never happen here: a row of another site than the one whose address was asked, a
thing bought twice by one click or by another website's form, a price that is not the one that is
paid, or text of a stranger that a browser takes for a page.
"""

from hansa.storefront.door import MOUNT, NEEDS, Door

__all__ = ["MOUNT", "NEEDS", "Door"]
