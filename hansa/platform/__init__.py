"""Platform: services that every other service of a Hansa league stands on."""
