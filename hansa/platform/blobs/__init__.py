"""Blobs are what is too large for a row: pictures, documents, exports; in a folder or on S3.

The bytes lie in a store, what is known of them in a row, which is written after the bytes are safe.
Both pass through in pieces, so that no blob is ever in memory as a whole. It is owned by the
platform team.

What must never happen here:
- a row whose bytes are not there, or other bytes than its hash says;
- bytes without a row that nobody will take away;
- one site's blob under another site's link, or a link that works after its end;
- a stranger's HTML or SVG that runs as a page of ours.
"""

from hansa.kernel.service import Service

blobs = Service("blobs", owner="platform")
"""The service; its handlers are in `hansa.platform.blobs.api`, its bytes go through `serving`."""
