"""One class a use case. No HTTP in here, and no driver."""
