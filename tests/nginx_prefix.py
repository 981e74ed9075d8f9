"""The changes of nginx's configuration that put the service below a prefix."""

# What nginx is told where it takes a prefix off each path. Without it the service is not there, but for its start.
PREFIX = "/cruddur"
ELSEWHERE = "location / { return 404; } location = /livez { proxy_pass http://backend; }"
PREFIXED = {
    "proxy_pass http://backend;": "proxy_pass http://backend/;",
    "location / {": f"{ELSEWHERE} location {PREFIX}/ {{",
}
