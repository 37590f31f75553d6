"""What others may use of the sites: the operations, by noun, their types, and the events.

Every operation here has the scope platform: it needs a key of the platform, which operators have.
"""

from hansa.platform.sites.api.clocks import ClockState, NewTime, advance_clock, get_clock
from hansa.platform.sites.api.events import (
    HostAdded,
    HostRemoved,
    KeyCreated,
    KeyRevoked,
    SettingChanged,
    SiteChanged,
    SiteCreated,
    SiteMoved,
)
from hansa.platform.sites.api.hosts import (
    Host,
    NewHost,
    SiteHost,
    add_host,
    find_hosts,
    list_hosts,
    remove_host,
)
from hansa.platform.sites.api.keys import (
    CreatedKey,
    Key,
    NewKey,
    create_key,
    list_keys,
    revoke_key,
)
from hansa.platform.sites.api.lookups import look_up_site
from hansa.platform.sites.api.moves import Place, get_place, plan_move, step_move
from hansa.platform.sites.api.settings import (
    NewValue,
    SettingValue,
    get_setting,
    list_settings,
    reset_setting,
    set_setting,
)
from hansa.platform.sites.api.sites import (
    NewSite,
    Site,
    SiteChange,
    TestClock,
    change_site,
    create_site,
    get_site,
    list_sites,
)
from hansa.platform.sites.directory import Directory
from hansa.platform.sites.limits import LIMITS
from hansa.platform.sites.settings import Setting, setting

__all__ = [
    "LIMITS",
    "ClockState",
    "CreatedKey",
    "Directory",
    "Host",
    "HostAdded",
    "HostRemoved",
    "Key",
    "KeyCreated",
    "KeyRevoked",
    "NewHost",
    "NewKey",
    "NewSite",
    "NewTime",
    "NewValue",
    "Place",
    "Setting",
    "SettingChanged",
    "SettingValue",
    "Site",
    "SiteChange",
    "SiteChanged",
    "SiteCreated",
    "SiteHost",
    "SiteMoved",
    "TestClock",
    "add_host",
    "advance_clock",
    "change_site",
    "create_key",
    "create_site",
    "find_hosts",
    "get_clock",
    "get_place",
    "get_setting",
    "get_site",
    "list_hosts",
    "list_keys",
    "list_settings",
    "list_sites",
    "look_up_site",
    "plan_move",
    "remove_host",
    "reset_setting",
    "revoke_key",
    "set_setting",
    "setting",
    "step_move",
]
