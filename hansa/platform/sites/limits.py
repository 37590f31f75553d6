"""Limits: the setting by which operators say what a site may take."""

from typing import Final

from hansa.kernel.site_limits import DEFAULT_LIMITS, SiteLimits
from hansa.platform.sites.settings import Setting, setting

LIMITS: Final[Setting[SiteLimits]] = setting(
    "sites.limits",
    SiteLimits,
    DEFAULT_LIMITS,
    "What the site may take: requests a second and at once.",
)
