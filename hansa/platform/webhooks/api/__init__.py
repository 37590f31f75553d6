"""What others may use of webhooks: the operations, by noun, their types, and the events."""

from hansa.platform.webhooks.address import parse_networks
from hansa.platform.webhooks.api.deliveries import (
    Attempt,
    Delivery,
    DeliverySeen,
    Feed,
    Replay,
    Replayed,
    get_delivery,
    list_deliveries,
    read_feed,
    replay,
    skip,
)
from hansa.platform.webhooks.api.endpoints import (
    CreatedEndpoint,
    Endpoint,
    EndpointChange,
    NewEndpoint,
    Rotate,
    change_endpoint,
    create_endpoint,
    get_endpoint,
    list_endpoints,
    remove_endpoint,
    rotate_key,
)
from hansa.platform.webhooks.api.events import (
    EndpointChanged,
    EndpointCreated,
    EndpointDisabled,
    EndpointRemoved,
)
from hansa.platform.webhooks.api.keeping import forget, purge_endpoint
from hansa.platform.webhooks.api.sending import send
from hansa.platform.webhooks.posting import Poster

__all__ = [
    "Attempt",
    "CreatedEndpoint",
    "Delivery",
    "DeliverySeen",
    "Endpoint",
    "EndpointChange",
    "EndpointChanged",
    "EndpointCreated",
    "EndpointDisabled",
    "EndpointRemoved",
    "Feed",
    "NewEndpoint",
    "Poster",
    "Replay",
    "Replayed",
    "Rotate",
    "change_endpoint",
    "create_endpoint",
    "forget",
    "get_delivery",
    "get_endpoint",
    "list_deliveries",
    "list_endpoints",
    "parse_networks",
    "purge_endpoint",
    "read_feed",
    "remove_endpoint",
    "replay",
    "rotate_key",
    "send",
    "skip",
]
