"""Every order has one receipt, and its buyer one letter. For tests: a service that needs others.

It hears the shop, asks the shop, and has mail sent. What must never happen: a receipt too many.
"""

from hansa.kernel.service import Service

steward = Service("steward", owner="tests")
