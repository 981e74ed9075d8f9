"""The benchmark: bin/bench measures the service against its peers."""
