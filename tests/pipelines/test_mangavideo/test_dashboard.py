"""The dashboard's API (section 12), over its ASGI application, with the real engine behind it."""

import time

import bcrypt
import httpx
import pytest
from mangaworld import manga
from starlette.testclient import TestClient

PASSWORD = "correct horse battery"


@pytest.fixture
def board(make):
    world = make([manga(1, "First Light", 1, 1)])
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    world.ports.secret("manga-pipeline/admin-credentials").write({"username": "admin", "password_hash": hashed})
    world.ports.secret("manga-video-pipeline/jwt-secret").write({"secret_key": "k" * 40, "algorithm": "HS256"})
    from mangavideo.dashboard.app import create_app

    with TestClient(create_app()) as client:
        client.world = world
        yield client


def send(board, path, method="post", **body):
    """With a CSRF token, as the pages do it."""
    token = board.get("/api/auth/csrf").json()["csrf_token"]
    return getattr(board, method)(path, json=body, headers={"x-csrf-token": token})


def login(board, password=PASSWORD):
    token = board.get("/api/auth/csrf").json()["csrf_token"]
    return board.post("/api/auth/login", data={"username": "admin", "password": password, "csrf_token": token})


def finished(board, name):
    arn = board.world.machine.arn.replace(":stateMachine:", ":execution:") + f":{name}"
    return board.world.ended(board.world.engine.execution(arn))


def test_login(board):
    assert board.get("/api/stats").status_code == 401
    assert board.post("/api/auth/login", data={"username": "admin", "password": PASSWORD}).status_code == 403
    assert login(board, "wrong").status_code == 401
    answer = login(board)
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert (
        cookie.startswith("access_token=")
        and "httponly" in cookie
        and "samesite=strict" in cookie
        and "max-age=86400" in cookie
    )
    assert board.get("/api/stats").json() == {
        "videos_today": 0,
        "total": 0,
        "failed": 0,
        "pending": 0,
        "avg_minutes": None,
        "daily_quota": 1,
        "quota_remaining": 1,
    }
    assert send(board, "/api/auth/logout").status_code == 200
    assert board.get("/api/stats").status_code == 401
    board.cookies.set("access_token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsImV4cCI6OTk5OTk5OTk5OX0.")
    assert board.get("/api/stats").status_code == 401, "a token without a signature"


def test_csrf_tokens_are_good_once(board):
    login(board)
    token = board.get("/api/auth/csrf").json()["csrf_token"]
    answers = [
        board.put("/api/settings", json={"tone": "calm"}, headers={"x-csrf-token": token}).status_code for _ in range(2)
    ]
    assert answers == [200, 403]
    assert board.put("/api/settings", json={"tone": "calm"}).status_code == 403


def test_guessing_is_limited(board):
    assert [login(board, f"guess {n}").status_code for n in range(5)] == [401] * 5
    refused = login(board)
    assert refused.status_code == 429 and 0 < int(refused.headers["retry-after"]) <= 900


def test_settings(board):
    login(board)
    changed = send(board, "/api/settings", "put", daily_quota=3, voice_id="vi-VN-NamMinhNeural")
    assert changed.json()["daily_quota"] == 3 and changed.json()["updated_at"]
    assert board.world.call("check-quota", job_id=None)["daily_quota"] == 3
    for wrong in ({"daily_quota": 0}, {"voice_id": "en-US"}, {"script_style": "poem"}, {"other": 1}):
        assert send(board, "/api/settings", "put", **wrong).status_code == 400, wrong
    assert board.get("/api/voices").json()["voices"] == ["vi-VN-HoaiMyNeural", "vi-VN-NamMinhNeural"]


def test_queue(board):
    login(board)
    for number in range(3):
        at = f"2026-02-0{number + 1}T00:00:00.000Z"
        status = "failed" if number else "completed"
        board.world.jobs.put({"job_id": f"j{number}", "status": status, "created_at": at, "updated_at": at})
    listed = board.get("/api/queue", params={"page": 1, "page_size": 2}).json()
    assert ([item["job_id"] for item in listed["items"]], listed["total"]) == (["j2", "j1"], 3)
    assert board.get("/api/queue", params={"status_filter": "completed"}).json()["total"] == 1
    assert board.get("/api/queue", params={"status_filter": "odd"}).status_code == 400
    assert board.get("/api/queue", params={"page_size": 101}).status_code == 400
    assert board.get("/api/queue/absent").status_code == 404
    assert board.get("/api/queue/j1").json()["status"] == "failed"
    assert send(board, "/api/queue/j0/retry").status_code == 400
    assert board.get("/api/queue/j1/video-url").status_code == 400


def test_trigger_review_and_upload(board):
    """One video from the button to its upload; then a job that fails and is tried again, twice under two names (F10)."""
    login(board)
    world = board.world
    send(board, "/api/settings", "put", manual_review_mode=True, daily_quota=5)
    started = send(board, "/api/trigger-pipeline")
    name = started.json()["execution_name"]
    assert started.status_code == 202 and name.startswith("manual-")
    run = finished(board, name)
    job = f"{name}-0"
    assert run.last == "Done" and board.get(f"/api/queue/{job}").json()["status"] == "awaiting_review"
    url = board.get(f"/api/queue/{job}/video-url").json()
    assert url["expires_in"] == 3600
    assert httpx.get(url["url"]).content == world.bucket.get(f"jobs/{job}/video.mp4")
    assert send(board, f"/api/queue/{job}/upload").status_code == 202
    end = time.monotonic() + 30
    while board.get(f"/api/queue/{job}").json().get("cleanup_at") is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert board.get(f"/api/queue/{job}").json()["status"] == "completed"
    assert len(world.uploaded()) == 1
    assert board.get("/api/processed-manga").json()["items"][0]["manga_id"] == "m-1"
    assert send(board, f"/api/queue/{job}/skip-upload").status_code == 400

    world.catalogue.works.append(manga(2, "Second Wind", 1, 1))
    world.model.key = "changed-by-the-provider"
    failed = finished(board, send(board, "/api/trigger-pipeline").json()["execution_name"])
    job = f"{failed.name}-0"
    names = [finished(board, send(board, f"/api/queue/{job}/retry").json()["execution_name"]).name for _ in range(2)]
    assert names == [f"retry-{job}-1", f"retry-{job}-2"]
    world.ports.secret("manga-pipeline/deepinfra-api-key").write({"api_key": world.model.key})
    from stepwell import toolkit

    toolkit.secret("manga-pipeline/deepinfra-api-key")._cached = None  # five minutes later
    last = finished(board, send(board, f"/api/queue/{job}/retry").json()["execution_name"])
    assert "ResumeScript" in last.visited
    assert board.get(f"/api/queue/{job}").json()["manga_id"] == "m-2"
    assert board.get(f"/api/queue/{job}").json()["status"] == "awaiting_review"
    assert send(board, f"/api/queue/{job}/skip-upload").json()["status"] == "completed"
    assert world.titles.get("m-2")["status"] == "completed"
