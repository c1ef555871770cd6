"""The parts on their own: names, the repair of answers, records, identity, metadata, limits of the API, the simulator's contract."""

import base64
import io
import json
import os
import time
import uuid
from datetime import timedelta

import holiday
import httpx
import pytest
from geminisim import KEY, Gemini, vision
from google.auth.exceptions import RefreshError
from mediaselect.ai import Answer, Deadline, Picture, attempt, one_picture
from mediaselect.errors import AiRefused, AiUnavailable, InvalidEvent, UnsupportedMedia, user_text
from mediaselect.service import START_SECONDS
from mediaselect.sessions import TTL_SECONDS, SessionStore, UnknownStep, bounded
from PIL import Image

from mediaselect import identity, images, keys, verdicts
from stepwell import toolkit
from stepwell.toolkit.records import Schema
from stepwell.toolkit.records.sqlite import SqliteTable

from . import media

SESSION = "0a1b2c3d-0000-4000-8000-00000000cafe"


@pytest.fixture
def store(tmp_path):
    return SessionStore(SqliteTable(tmp_path, "sessions", Schema(key=("PK", "SK"), ttl="expiresAt")))


def test_thumbnail_names_never_meet():
    given = [f"{SESSION}/{name}" for name in ("IMG_1.mov", "IMG_1.jpg", "IMG_1.HEIC", "img_1-mov.jpg", "other.png")]
    names = keys.thumbnail_names(given)
    assert f"{SESSION}/other.png" not in names and f"{SESSION}/img_1-mov.jpg" not in names
    shown = [keys.thumbnail_key(SESSION, key, names).lower() for key in given]
    assert len(set(shown)) == len(given)
    assert len({keys.compressed_key(SESSION, key, names) for key in given}) == len(given)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a.jpg",
        f"{SESSION}/",
        f"{SESSION}/../x.jpg",
        f"/{SESSION}/a.jpg",
        f"{SESSION}\\a.jpg",
        "22c70daf-8dbd-4117-823e-c699ff414ad8/a.jpg",
        None,
    ],
)
def test_keys_of_others(key):
    with pytest.raises(InvalidEvent):
        keys.check_key(key, SESSION)


@pytest.mark.parametrize("name", ["", ".hidden.jpg", "a/b.jpg", "a..jpg", "ü.jpg", "x" * 256, 7])
def test_bad_file_names(name):
    with pytest.raises(InvalidEvent):
        keys.check_filename(name)
    assert keys.check_filename("IMG 1 (2).jpg")


def test_errors_for_users():
    said = f"no {SESSION}/a.jpg at https://x.test/y?sig=1 in /var/task/mediaselect/a.py"
    cause = json.dumps({"errorMessage": said, "stackTrace": ["secret"]})
    assert user_text({"Error": "E", "Cause": cause}) == "no … at … in …"
    assert user_text({"Error": "E", "Cause": "plain"}) == "plain"
    assert len(user_text("x" * 9000)) == 500 and user_text(None) != ""


def read(document, count=4):
    files = [verdicts.Medium(n, f"f{n}.jpg", f"s/f{n}.jpg", f"s/t{n}.jpg") for n in range(1, count)]
    files.append(verdicts.Medium(count, "film.mp4", "s/film.mp4", "s/film.mp4"))
    return verdicts.read_verdict(json.dumps(document), files)


def test_answers_are_repaired():
    verdict = read(
        {
            "selected": [
                {
                    "rank": 7,
                    "media": 2,
                    "filename": "f3.jpg",
                    "type": "Photo",
                    "scene": "S",
                    "justification": "name counts",
                },
                {
                    "rank": 3,
                    "media": 4,
                    "filename": "film.mp4",
                    "type": "Photo",
                    "scene": "S",
                    "justification": "type from the name",
                },
                {
                    "rank": 9,
                    "media": 4,
                    "filename": "film.mp4",
                    "type": "Video",
                    "scene": "S",
                    "justification": "again",
                },
            ],
            "excluded": [
                {"media": 3, "filename": "f3.jpg", "reason": "both", "category": "redundant-scene"},
                {"media": 77, "filename": "f1.jpg", "reason": "wrong number", "category": "boring"},
            ],
            "sceneGroups": [
                {"name": "S", "items": [{"media": 3, "filename": "f3.jpg", "selected": False, "description": "d"}, "x"]}
            ],
        }
    )
    assert [(e["rank"], e["filename"], e["type"]) for e in verdict.selected] == [
        (1, "film.mp4", "Video"),
        (2, "f3.jpg", "Photo"),
    ]
    assert [(e["filename"], e["category"]) for e in verdict.excluded] == [
        ("f1.jpg", "content-mismatch"),
        ("f2.jpg", "content-mismatch"),
    ]
    assert verdict.scenes[0]["items"][0]["selected"] is True
    assert len(verdict.warnings) == 6


@pytest.mark.parametrize(
    "text", ["", "nothing", "{", '{"selected": 5}', "[1, 2]", '{"selected": [], "excluded": []}', "```json\n{}\n```"]
)
def test_unusable_answers(text):
    with pytest.raises(verdicts.Unusable):
        verdicts.read_verdict(text, [verdicts.Medium(1, "a.jpg", "k", "t")])


def test_sessions_have_one_owner(store):
    assert store.claim(SESSION, "me") and store.claim(SESSION, "me") and not store.claim(SESSION, "you")
    assert store.session(SESSION)["ownerSub"] == "me"
    store.describe(SESSION, "a week by the sea", [f"{SESSION}/a.jpg"])
    record = store.session(SESSION)
    assert {**record, "expiresAt": 0} == {
        "PK": f"SESSION#{SESSION}", "SK": "META", "status": "active", "ownerSub": "me", "tripContext": "a week by the sea",
        "uploadedKeys": [f"{SESSION}/a.jpg"], "createdAt": record["createdAt"], "expiresAt": 0,
    }  # fmt: skip
    late = SessionStore(store._table, clock=lambda: time.time() + TTL_SECONDS + 1)
    assert late.claim(SESSION, "you") and not late.claim(SESSION, "me"), "an expired session is nobody's"
    assert store.selection(SESSION, "sel-none") is None
    with pytest.raises(UnknownStep, match="triage, selection"):
        store.invalidate(SESSION, "baking")


def test_the_largest_job_fits_a_record(store):
    item = bounded(
        {
            "key": "k" * 290, "originalKey": "k" * 290, "enhancedKey": "e" * 300, "phase": "complete", "phase1Text": "x" * 5000,
            "analysis": {"overallAssessment": "y" * 5000, "professionalScore": 8.25,
                         "remainingImprovements": [{"description": "z" * 5000, "editInstruction": "w" * 5000}] * 1},
        }
    )  # fmt: skip
    assert len(item["phase1Text"]) == 1000 and len(item["analysis"]["overallAssessment"]) == 300
    record = {
        "status": "pending",
        "items": [dict(item) for _ in range(150)],
        "totalCount": 150,
        "completedCount": 0,
        "failedCount": 0,
    }
    store.put_enhancement(SESSION, "enh-1", record)
    assert store.enhancement(SESSION, "enh-1")["items"][149]["analysis"]["professionalScore"] == 8.25
    for item in record["items"]:
        item["feedbackHistory"] = [{"userFeedback": "f" * 2000, "modelResponse": "m" * 300}] * 10
    store.put_enhancement(SESSION, "enh-1", record)
    kept = store.enhancement(SESSION, "enh-1")["items"][149]
    assert kept["originalKey"] == "k" * 290 and kept["phase"] == "complete" and kept["feedbackHistory"]
    many = bounded({"feedbackHistory": [{"userFeedback": "f" * 3000, "modelResponse": "m" * 3000}] * 30})
    assert len(many["feedbackHistory"]) == 10


def test_success_is_never_turned_into_failure(store):
    items = [{"originalKey": "k", "phase": "pending"}]
    store.put_enhancement(
        SESSION, "enh-2", {"status": "pending", "items": items, "totalCount": 1, "completedCount": 0, "failedCount": 0}
    )
    store.set_item_result(SESSION, "enh-2", 0, {"phase": "complete", "enhancedKey": "e"})
    assert store.set_item_result(SESSION, "enh-2", 0, {"phase": "error", "error": "late"}) == (1, 1)
    (item,) = store.enhancement(SESSION, "enh-2")["items"]
    assert item["phase"] == "complete" and "error" not in item


def test_tokens():
    good = f"Bearer {identity.sign('me', 's3cret')}"
    assert identity.subject(good, "s3cret") == "me"
    head, body, signature = good.split(".")
    none, late = "eyJhbGciOiJub25lIn0", f"Bearer {identity.sign('me', 's3cret', seconds=-1)}"
    for header, secret in [
        (None, "s3cret"), ("", "s3cret"), (good, ""), (good, "other"), (good[:-2], "s3cret"), (f"Bearer {none}.{body}.", "s3cret"),
        (f"{head}.{body[:-3]}.{signature}", "s3cret"), ("Bearer x.y.z", "s3cret"), (late, "s3cret"),
    ]:  # fmt: skip
        with pytest.raises(identity.BadToken):
            identity.subject(header, secret)


def test_metadata_of_photos():
    found = images.metadata(
        media.photo("harbour", (300, 200), taken=holiday.MORNING, gps=(-33.8568, -151.2153), orientation=6)
    )
    assert found.gps == pytest.approx((-33.8568, -151.2153), abs=1e-4)
    assert found.taken.replace(tzinfo=None) == holiday.MORNING and found.taken.utcoffset() == timedelta(hours=2)
    assert (found.camera, found.width, found.height) == ("Stepwell Obscura 1", 200, 300)
    heic = images.metadata(media.photo("harbour", (300, 200), "HEIF", taken=holiday.MORNING, gps=holiday.NICE))
    assert heic.gps == pytest.approx(holiday.NICE, abs=1e-4) and heic.taken is not None
    nowhere = images.metadata(media.photo("harbour", (300, 200), gps=(0.0, 0.0)))
    assert nowhere.gps is None and nowhere.taken is None


def test_metadata_of_films(tmp_path):
    from mediaselect import ffmpeg

    path = tmp_path / "a.mp4"
    path.write_bytes(media.film("harbour", taken=holiday.MORNING, gps=holiday.NICE))
    found = ffmpeg.probe(str(path))
    assert found.gps == pytest.approx(holiday.NICE, abs=1e-3) and found.taken.replace(tzinfo=None) == holiday.MORNING
    assert (found.width, found.height, found.audio_codec) == (160, 120, "aac") and found.fps == 10.0
    assert found.duration == pytest.approx(1.2, abs=0.1)
    with pytest.raises(UnsupportedMedia):
        ffmpeg.probe(str(tmp_path / "none.mp4"))


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("WEBP", "RGBA"), ("PNG", "L"), ("JPEG", "CMYK")]
)
def test_thumbnails_of_all_kinds_are_jpeg(form, mode):
    out = io.BytesIO()
    Image.new("RGBA", (50, 30), (255, 0, 0, 0)).convert(mode).save(out, form)
    made = Image.open(io.BytesIO(images.thumbnail(out.getvalue())))
    assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (50, 30)), "never enlarged"
    if mode == "RGBA":
        assert min(made.getpixel((25, 15))) > 250, "transparency is laid on white"


def test_limits_of_starting(world, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # objects that need not outlive a power cut
    session = world.session
    world.put("a.jpg", media.photo())
    post = world.post
    post("/api/selection/start", status=400, sessionId=session, tripContext="x" * 2001)
    post("/api/selection/start", status=400, sessionId=session, tripContext="", model="gpt")
    post("/api/selection/start", status=400, sessionId=str(uuid.uuid4()), tripContext="")
    post("/api/selection/start", status=400, sessionId="UPPER", tripContext="")
    post("/api/enhance/start", status=400, sessionId=session, keys=[])
    post("/api/enhance/start", status=400, sessionId=session, keys=[f"{uuid.uuid4()}/a.jpg"])
    post("/api/enhance/start", status=400, sessionId=session, keys=[f"{session}/a.txt", f"{session}/enhanced/a.jpg"])
    post("/api/enhance/start", status=400, sessionId=session, keys=[f"{session}/{n}.jpg" for n in range(151)])
    post("/api/enhance/start", status=400, sessionId=session, keys=[f"{session}/{n}.mp4" for n in range(21)])
    world.get("/api/selection/sel-0/results", status=404, sessionId=session)
    world.get("/api/selection/sel-0/results", status=404)
    for number in range(
        320
    ):  # few enough by the estimate of 2 * len + 150, too much for a state with all its thumbnails
        world.bucket.put(f"{session}/{number:03}{'x' * 243}.jpg", b"-")
    answer = post("/api/selection/start", status=400, sessionId=session, tripContext="")
    assert "too long together" in answer["error"]
    assert [row["SK"] for row in world.table.query(f"SESSION#{session}")] == ["META"]


def test_uploads_by_url(world):
    session = world.session
    query = {"sessionId": session, "filename": "a.jpg", "contentType": "image/jpeg"}
    target = world.get("/api/upload-url", **query)
    data = media.photo()
    refused = httpx.put(target["uploadUrl"], content=data, headers={"content-type": "text/html"})
    assert refused.status_code == 403
    assert httpx.put(target["uploadUrl"], content=data, headers={"content-type": "image/jpeg"}).status_code == 200
    assert world.bucket.get(target["key"]) == data
    world.get("/api/upload-url", status=400, **{**query, "filename": "a.exe"})
    world.get("/api/upload-url", status=400, **{**query, "contentType": "image/png"})

    size, chunk = 6_000_000, 5 * 1024**2
    body = {"sessionId": session, "filename": "v.mp4", "contentType": "video/mp4", "fileSize": size, "chunkSize": chunk}
    begun = world.post("/api/upload-multipart/init", status=200, **body)
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    parts = []
    for part in begun["partUrls"]:
        start = (part["partNumber"] - 1) * chunk
        answer = httpx.put(part["url"], content=content[start : start + chunk])
        parts.append({"partNumber": part["partNumber"], "etag": answer.headers["etag"]})
    finish = {"sessionId": session, "key": begun["key"], "uploadId": begun["uploadId"]}
    world.post("/api/upload-multipart/complete", status=400, **finish, parts=[{"partNumber": 1, "etag": "wrong"}])
    world.post("/api/upload-multipart/complete", status=200, **finish, parts=parts)
    assert world.bucket.get(begun["key"]) == content
    begun = world.post("/api/upload-multipart/init", status=200, **body)
    world.post(
        "/api/upload-multipart/abort", status=200, sessionId=session, key=begun["key"], uploadId=begun["uploadId"]
    )
    assert not list(world.bucket.list_uploads(session))
    world.post("/api/upload-multipart/init", status=400, **{**body, "chunkSize": 1000})
    world.post(
        "/api/upload-multipart/init", status=400, **{**body, "fileSize": 6 * 1024**3, "chunkSize": 100 * 1024**2}
    )


def test_the_records_of_jobs(world):
    """The attributes of sections 3.2 and 3.3, and what this implementation keeps beside them."""
    key = world.put("a.jpg", media.photo("harbour", (676, 480)))
    began = int(time.time())
    selection = world.select("a week by the sea")
    enhancement = world.enhance([key])
    partition = f"SESSION#{world.session}"
    always = {"PK", "SK", "expiresAt", "createdAt", "thumbNames"}
    chosen = world.table.get((partition, f"SELECTION#{selection['id']}"))
    assert chosen.keys() - always == {
        "status", "selected", "excluded", "sceneGroups", "skipped", "warnings", "startedAt", "finishedAt", "model", "promptVersion",
    }  # fmt: skip
    assert began <= chosen["startedAt"] <= chosen["finishedAt"] <= time.time()
    assert chosen["selected"][0].keys() - {"comparisonNote"} == {
        "rank", "media", "filename", "key", "type", "scene", "justification", "thumbnailUrl",
    }  # fmt: skip
    assert chosen["sceneGroups"][0]["items"][0].keys() == {
        "media", "filename", "key", "type", "selected", "description", "thumbnailUrl",
    }  # fmt: skip
    enhanced = world.table.get((partition, f"ENHANCE#{enhancement['id']}"))
    assert enhanced.keys() - always == {
        "status", "items", "totalCount", "completedCount", "failedCount", "promptVersion",
    }  # fmt: skip
    (item,) = enhanced["items"]
    assert item.keys() == {
        "key", "originalKey", "filename", "kind", "phase", "enhancedKey", "originalThumbKey", "enhancedThumbKey", "phase1Text",
        "analysis", "imagenEdits", "feedbackHistory", "feedbackStatus", "version", "outputWidth", "outputHeight",
    }  # fmt: skip
    assert item["analysis"].keys() == {
        "overallAssessment", "remainingImprovements", "professionalScore", "targetScore", "noFurtherEditsNeeded",
    }  # fmt: skip
    assert (item["phase"], item["version"], item["kind"]) == ("complete", 1, "photo")
    meta = world.table.get((partition, "META"))
    assert meta["uploadedKeys"] == [key] and meta["tripContext"] == "a week by the sea" and meta["status"] == "active"


def test_a_lost_execution_ends_the_job(world):
    world.put("a.jpg", media.photo())
    world.gemini.fail("selection", status=503, times=99, delay=1)
    job = world.post("/api/selection/start", status=202, sessionId=world.session, tripContext="")["id"]
    world.execution("selection", job).stop()
    result = world.get(f"/api/selection/{job}/results", sessionId=world.session)
    assert (result["status"], result["error"]) == ("error", "processing ended unexpectedly")
    world.gemini.forgive()


def test_a_lost_feedback_ends(world):
    key = world.put("a.jpg", media.photo("harbour", (672, 480)))
    job = world.enhance([key])["id"]
    waiting = {"feedbackStatus": "processing", "feedbackRequest": "fb-" + "0" * 32, "feedbackAt": int(time.time())}

    def item():
        (found,) = world.get(f"/api/enhance/{job}/results", sessionId=world.session)["items"]
        return found

    world.sessions.set_item_fields(world.session, job, 0, waiting)
    assert item()["feedbackStatus"] == "processing", "its execution may still be starting"
    waiting["feedbackAt"] -= START_SECONDS + 1
    world.sessions.set_item_fields(world.session, job, 0, waiting)
    found = item()
    assert (found["feedbackStatus"], found["phase"]) == ("error", "complete")
    assert not {"lastRequest", "feedbackRequest", "feedbackAt"} & found.keys()


def test_what_is_no_picture_is_no_answer(world):
    with pytest.raises(AiRefused, match="cannot be read"):
        one_picture(Answer("here you are", [Picture(b"\x89PNG and nothing more", "image/png")]))

    def refused():
        raise RefreshError("the service account is gone")

    metrics = toolkit.metrics("MediaSelect")
    with pytest.raises(AiUnavailable):
        attempt(refused, "mask-edit", 0.001, Deadline(lambda: 60.0), metrics)


def test_a_refused_file_falls_back(world):
    """The model's store cannot read the preview: the film goes by URL instead; nothing is left in the store."""
    world.put("v.mp4", media.film())
    world.gemini.failing_files = 1
    result = world.select()
    assert result["status"] == "complete" and result["selected"][0]["type"] == "Video"
    (asked,) = world.gemini.requests("selection")
    assert asked.links and "/objects/" in asked.links[0] and not world.gemini.files


def test_the_simulator_keeps_the_contract():
    with Gemini() as gemini, httpx.Client(base_url=gemini.url) as client:
        path = "/v1beta/models/gemini-3-pro-preview:generateContent"
        body = {
            "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
            "generationConfig": {"responseSchema": {"type": "OBJECT"}},
        }
        assert client.post(path, json=body).status_code == 403
        keyed = {"x-goog-api-key": KEY}
        refused = client.post(path, json=body, headers=keyed)
        assert refused.status_code == 400 and refused.json()["error"]["status"] == "INVALID_ARGUMENT"
        assert client.post("/v1beta/models/unknown:generateContent", json=body, headers=keyed).status_code == 404
        gemini.fail("photo-edit", status=429)
        edit = {
            "contents": [
                {
                    "parts": [
                        {"inlineData": {"mimeType": "image/jpeg", "data": base64.b64encode(media.photo()).decode()}}
                    ]
                }
            ],
            "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
        }
        path = "/v1beta/models/gemini-3-pro-image-preview:generateContent"
        assert [client.post(path, json=edit, headers=keyed).status_code for _ in range(2)] == [429, 200]


def test_the_simulator_sees():
    sharp = holiday.scene("harbour", (1200, 900))
    dim = holiday.dim(sharp, 0.5)
    looks = {
        name: vision.look(image)
        for name, image in (("sharp", sharp), ("dim", dim), ("blurred", holiday.blurred(sharp)))
    }
    assert looks["blurred"].sharpness < vision.UNUSABLE_SHARPNESS < looks["sharp"].sharpness
    assert looks["dim"].score < looks["sharp"].score
    assert looks["sharp"].like(vision.look(holiday.nudged(sharp))) > vision.ALIKE
    assert looks["sharp"].like(vision.look(holiday.scene("market", (640, 480)))) < 0.5
