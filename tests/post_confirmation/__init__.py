"""The trigger of Cognito as it is shipped: the zip's files, by Lambda's own runtime client, on a Postgres with TLS."""
