"""Whether the process answers."""

from app import create_app
from lib.config import Config
from tests.conftest import FRONTEND
from tests.tokens import pool


def test_the_process_answers_also_without_a_database() -> None:
    app = create_app(
        Config(connection_url="postgresql://127.0.0.1:1/none", frontend_urls=(FRONTEND,), user_pool=pool())
    )

    answer = app.test_client().get("/api/health-check")

    assert (answer.status_code, answer.json) == (200, {"success": True, "ver": 1})
    app.extensions["pool"].close()
