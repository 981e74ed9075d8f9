"""The changes of nginx's configuration that put the service below a prefix."""

# nginx takes the prefix off each path. Other paths are 404, but for the health check of its start.
PREFIX = "/cruddur"
ELSEWHERE = "location / { return 404; } location = /livez { proxy_pass http://backend; }"
PREFIXED = {
    "proxy_pass http://backend;": "proxy_pass http://backend/;",
    "location / {": f"{ELSEWHERE} location {PREFIX}/ {{",
}
