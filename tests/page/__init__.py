"""Cruddur's page, as a user with a browser sees it."""
