"""Blueprints, one for each resource. A view reads the request, makes one call and returns the response."""
