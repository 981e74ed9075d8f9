"""Cognito's trigger as shipped: the zip's files, run by Lambda's own runtime client, on a Postgres with TLS."""
