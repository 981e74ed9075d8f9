"""What every feature shares. It knows no feature."""
