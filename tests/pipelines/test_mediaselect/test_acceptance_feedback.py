"""Acceptance statements 30 to 32: feedback, invalidation, expiry and secrets; and what a run leaves when the engine is asked twice."""

import json
import time

import numpy as np
import pytest
from geminisim import KEY, TOKEN, vision
from mediaselect.sessions import TTL_SECONDS, NoSuchJob

from . import media
from .world import JWT, ORIGIN


def test_30_feedback_on_a_photo(world):
    key = world.put("a.jpg", media.photo("harbour", (656, 480)))
    job = world.enhance([key])
    before = job["items"][0]
    first = vision.look(world.image(before["enhancedKey"]))
    item = world.feedback(job["id"], key, "Please make it warmer")
    assert (item["phase"], item["version"], item["feedbackStatus"]) == ("feedback", before["version"] + 1, "idle")
    assert [(e["userFeedback"], e["method"], e["success"]) for e in item["feedbackHistory"]] == [
        ("Please make it warmer", "gemini", True)
    ]
    warm = vision.look(world.image(item["enhancedKey"]))
    assert warm.cast > first.cast + 5
    job = world.get(f"/api/enhance/{job['id']}/results", sessionId=world.session)
    assert (job["status"], job["completedCount"], job["failedCount"]) == ("complete", 1, 0)

    item = world.feedback(job["id"], item["enhancedKey"], "And now black and white")
    assert item["version"] == 3 and len(item["feedbackHistory"]) == 2
    pixels = np.asarray(world.image(item["enhancedKey"]).convert("RGB")).astype(int)
    assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() < 3
    asked = world.gemini.requests("photo-edit")[-1]
    turns = [(content["role"], content["parts"][0].get("text", "")) for content in asked.body["contents"]]
    assert [role for role, _ in turns] == ["user", "model", "user"] and turns[0][1] == "Please make it warmer"
    assert not any("inlineData" in part for content in asked.body["contents"][:-1] for part in content["parts"])


def test_30_feedback_by_mask(world):
    key = world.put("a.jpg", media.photo("church", (658, 480)))
    job = world.enhance([key])
    item = world.feedback(job["id"], key, "Remove the bin in the bottom-left")
    assert item["version"] == 2 and item["imagenEdits"] == 0
    (entry,) = item["feedbackHistory"]
    assert (entry["method"], entry["modelResponse"], entry["success"]) == ("imagen", "applied 1 local edit(s)", True)


def test_30_failed_feedback_keeps_the_picture(world):
    key = world.put("a.jpg", media.photo("market", (660, 480)))
    job = world.enhance([key])
    path = job["items"][0]["enhancedKey"]
    kept, version = world.bucket.get(path), job["items"][0]["version"]
    world.gemini.block("photo-edit")
    world.gemini.script("photo-analysis", "no idea")
    item = world.feedback(job["id"], key, "Turn it into gold")
    assert (item["feedbackStatus"], item["phase"], item["version"]) == ("error", "complete", version)
    assert [entry["success"] for entry in item["feedbackHistory"]] == [False]
    assert world.bucket.get(path) == kept

    world.gemini.fail("photo-edit", status=503, times=9)
    item = world.feedback(job["id"], key, "Brighter")
    assert (item["feedbackStatus"], item["version"], len(item["feedbackHistory"])) == ("error", version, 2)
    assert world.bucket.get(path) == kept
    job = world.get(f"/api/enhance/{job['id']}/results", sessionId=world.session)
    assert (job["completedCount"], job["failedCount"]) == (1, 0)


def test_30_feedback_cures_a_failed_item_and_is_refused_twice(world):
    key = world.put("a.jpg", media.photo("beach", (662, 480)))
    world.gemini.fail("photo-edit", status=400, times=3)
    job = world.enhance([key])
    assert (job["status"], job["failedCount"]) == ("error", 1)
    item = world.feedback(job["id"], key, "Just try again")
    assert (item["phase"], item["version"]) == ("feedback", 1)
    job = world.get(f"/api/enhance/{job['id']}/results", sessionId=world.session)
    assert (job["status"], job["completedCount"], job["failedCount"]) == ("complete", 1, 0)

    world.sessions.set_item_fields(world.session, job["id"], 0, {"feedbackStatus": "processing"})
    path = f"/api/enhance/{job['id']}/feedback"
    world.post(path, status=409, sessionId=world.session, key=key, feedback="again")
    world.post(path, status=404, sessionId=world.session, key=f"{world.session}/none.jpg", feedback="again")
    world.post(path, status=400, sessionId=world.session, key=key, feedback="")
    world.post(path, status=400, sessionId=world.session, key=key, feedback="x" * 2001)


def test_30_feedback_on_a_video_starts_from_the_source(world):
    key = world.put("v.mp4", media.film("harbour"))
    job = world.enhance([key])
    world.gemini.clear()
    item = world.feedback(job["id"], key, "Warmer, like an evening")
    assert (item["phase"], item["version"], item["feedbackStatus"]) == ("feedback", 2, "idle")
    asked = world.gemini.requests("frame-edit")[0]
    assert "Warmer, like an evening" in asked.texts[-1]
    assert vision.look(vision.open_image(asked.pictures[0])).mean < 90, (
        "the frame of the dim source, not of the graded film"
    )


def test_30_a_repeated_request_appends_once(world):
    key = world.put("a.jpg", media.photo("harbour", (664, 480)))
    job = world.enhance([key])["id"]
    event = {"sessionId": world.session, "jobId": job, "key": key, "feedback": "brighter"}
    first = world.invoke("enhance", {**event, "type": "enhancement-feedback", "requestId": "fb-1"})
    assert first == {"feedbackStatus": "idle", "version": 2}
    asked = len(world.gemini.requests("photo-edit"))
    assert world.invoke("enhance", {**event, "type": "enhancement-feedback", "requestId": "fb-1"}) == first
    item = world.get(f"/api/enhance/{job}/results", sessionId=world.session)["items"][0]
    assert (len(item["feedbackHistory"]), item["version"]) == (1, 2)
    assert len(world.gemini.requests("photo-edit")) == asked
    assert world.invoke("enhance", {**event, "type": "video-feedback"})["errorType"] == "InvalidEvent"


def test_31_invalidation(world):
    key = world.put("a.jpg", media.photo("harbour", (666, 480)))
    world.put("b.mp4", media.film())
    selection = world.select()["id"]
    job = world.enhance([key])["id"]
    world.post(f"/api/overrides/{world.session}", status=200, jobId=selection, action="removed", mediaKey=key)
    for sort in ("TRIAGE#t", "GROUP#g", "DOWNLOAD#d", "PUBLISH#p"):
        world.table.put({"PK": f"SESSION#{world.session}", "SK": sort, "expiresAt": int(time.time()) + 99})
    deleted = world.post("/api/session/invalidate", status=200, sessionId=world.session, fromStep="enhancement")[
        "invalidated"
    ]
    assert deleted == [f"ENHANCE#{job}", "GROUP#g", "DOWNLOAD#d", "PUBLISH#p"]
    left = [row["SK"] for row in world.table.query(f"SESSION#{world.session}")]
    assert left == ["META", f"OVERRIDE#{selection}", f"SELECTION#{selection}", "TRIAGE#t"]
    assert world.objects() == ["a.jpg", "b.mp4", "compressed/b.webm", "thumbnails/a.jpg", "thumbnails/b.jpg"]

    deleted = world.post("/api/session/invalidate", status=200, sessionId=world.session, fromStep="selection")[
        "invalidated"
    ]
    assert set(deleted) == {f"SELECTION#{selection}", f"OVERRIDE#{selection}"}
    assert world.objects() == ["a.jpg", "b.mp4"]
    wrong = world.post("/api/session/invalidate", status=400, sessionId=world.session, fromStep="cooking")
    assert "triage, selection, enhancement, grouping, download, description, publish" in wrong["error"]


def test_32_expiry_and_secrets(world):
    began = time.time()
    key = world.put("a.jpg", media.photo("harbour", (668, 480)))
    world.put("b.mp4", media.film())
    world.gemini.fail("selection", status=429)
    selection = world.select()
    world.post(f"/api/overrides/{world.session}", status=200, jobId=selection["id"], action="removed", mediaKey=key)
    world.enhance([key])
    rows = list(world.table.query(f"SESSION#{world.session}"))
    assert len(rows) == 4
    for row in rows:
        assert began + TTL_SECONDS - 5 <= row["expiresAt"] <= time.time() + TTL_SECONDS + 5, row["SK"]

    lines = [json.dumps([record.message, record.fields], default=str) for record in world.logs()]
    assert len(lines) > 3
    for secret in (KEY, TOKEN, JWT, ORIGIN, "X-Stepwell-Signature"):
        assert not [line for line in lines if secret in line], secret
    everything = b"".join(path.read_bytes() for path in (world.data / "logs").rglob("*") if path.is_file())
    for secret in (KEY, TOKEN, "X-Stepwell-Signature="):
        assert secret.encode() not in everything


def test_32_expired_records_count_as_absent(world):
    job = "sel-" + "1" * 32
    world.sessions.put_selection(world.session, job, {"status": "pending"})
    assert world.sessions.selection(world.session, job)["status"] == "pending"
    late = type(world.sessions)(world.table, clock=lambda: time.time() + TTL_SECONDS + 1)
    assert late.selection(world.session, job) is None
    with pytest.raises(NoSuchJob):
        late.update_selection(world.session, job, lambda record: record)
    late.update_override(world.session, job, lambda record: {**record, "added": ["k"]})
    assert late.override(world.session, job)["added"] == ["k"]
