"""Use cases, one class each. This layer knows neither HTTP nor the database driver."""
