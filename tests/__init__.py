"""The features' stories, told through HTTP on a real Postgres."""
