"""The doctor: tries what the proxy would do for each destination and tenant, and explains what goes wrong."""
