"""What the tests, the benchmarks and the drills share: processes, Postgres servers, stubs, networks and load."""
