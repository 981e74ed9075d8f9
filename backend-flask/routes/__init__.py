"""One blueprint a resource: a URL and a call."""
