"""Shared parts of tests, benchmarks and drills: processes, Postgres servers, stubs, networks and load."""
