"""Parts that all features share. This layer knows no feature."""
