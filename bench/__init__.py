"""What the service is measured by, and against whom. bin/bench is its door."""
