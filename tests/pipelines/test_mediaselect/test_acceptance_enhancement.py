"""Acceptance statements 16 to 24: enhancement of photos, counters, mask edits."""

import base64
import io
import json
import threading

import holiday
import numpy as np
import pytest
from geminisim import vision
from PIL import ExifTags, Image

from mediaselect import masks

from . import media
from .world import World


def analysis(score=7.0, *improvements, done=False):
    return {
        "overallAssessment": "As scripted.",
        "remainingImprovements": list(improvements),
        "professionalScore": score,
        "targetScore": 9.0,
        "noFurtherEditsNeeded": done,
    }


def local(region="center", *, kind="object-removal", impact="high"):
    return {
        "type": kind, "description": "a bin", "region": region, "impact": impact, "imagenSuitable": True,
        "editInstruction": "Remove the bin",
    }  # fmt: skip


def overall(impact="high"):
    return {
        "type": "color-grading", "description": "flat", "region": "global", "impact": impact, "imagenSuitable": False,
        "editInstruction": "Warm the evening light",
    }  # fmt: skip


def by_name(job):
    return {item["filename"]: item for item in job["items"]}


def test_16_every_function_writes_its_own_item(world):
    photos = [world.put("b.jpg", media.photo("harbour")), world.put("a.jpg", media.photo("church"))]
    videos = [world.put("y.mp4", media.film()), world.put("x.mov", media.film("harbour", suffix=".mov"))]
    job = world.enhance([videos[0], photos[0], videos[1], photos[1], photos[0]])
    assert job["status"] == "complete" and (job["totalCount"], job["completedCount"], job["failedCount"]) == (4, 4, 0)
    assert [(item["key"], item["kind"]) for item in job["items"]] == [
        (photos[0], "photo"), (photos[1], "photo"), (videos[0], "video"), (videos[1], "video"),
    ]  # fmt: skip
    assert [item["enhancedKey"].partition("/")[2] for item in job["items"]] == [
        "enhanced/b.jpg", "enhanced/a.jpg", "enhanced/y.mp4", "enhanced/x.mov.mp4",
    ]  # fmt: skip
    history = world.history("enhancement", job["id"])
    given = json.loads(history[0]["executionStartedEventDetails"]["input"])
    assert [entry["itemIndex"] for entry in [*given["photos"], *given["videos"]]] == [0, 1, 2, 3]
    output = json.loads(history[-1]["executionSucceededEventDetails"]["output"])
    assert [set(result) for branch in output["enhancementResults"] for result in branch] == [
        {"originalKey", "enhancedKey", "phase"}
    ] * 4


def test_16_photos_are_visibly_better(world):
    """The pixels: nearer to middle brightness, more contrast, and still the same picture."""
    key = world.put("dim.jpg", media.photo("market", (800, 600), taken=holiday.MORNING, gps=holiday.NICE))
    item = world.enhance([key])["items"][0]
    before, after = vision.look(world.image(key)), vision.look(world.image(item["enhancedKey"]))
    assert abs(after.mean - 118) < abs(before.mean - 118) - 15
    assert after.spread > before.spread * 1.4
    assert after.score >= 8.5 > before.score
    assert after.like(before) > 0.5
    exif = world.image(item["enhancedKey"]).getexif()
    assert exif[ExifTags.Base.Orientation] == 1
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2026:06:13 10:05:00"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert (item["outputWidth"], item["outputHeight"]) == (800, 600)


def test_17_simultaneous_updates_lose_none(world):
    job, count = "enh-" + "0" * 32, 15
    items = [{"key": f"k{n}", "originalKey": f"k{n}", "phase": "pending"} for n in range(count)]
    world.sessions.put_enhancement(
        world.session,
        job,
        {"status": "pending", "items": items, "totalCount": count, "completedCount": 0, "failedCount": 0},
    )
    start = threading.Barrier(count)
    seen = []

    def work(index):
        start.wait()
        for phase in ("phase1", "phase2"):
            world.sessions.set_item_fields(world.session, job, index, {"phase": phase})
        for _ in range(2):  # a repeated attempt
            seen.append(
                world.sessions.set_item_result(
                    world.session, job, index, {"phase": "complete", "enhancedKey": f"e{index}"}
                )
            )
            world.sessions.set_item_fields(world.session, job, index, {"phase": "phase1"})

    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = world.sessions.enhancement(world.session, job)
    assert record["completedCount"] == record["totalCount"] == count
    assert [item["enhancedKey"] for item in record["items"]] == [f"e{n}" for n in range(count)]
    assert {item["phase"] for item in record["items"]} == {"complete"}
    assert max(seen) == (count, count) and min(seen) >= (1, count)


def test_18_two_failures_then_success(world):
    key = world.put("a.jpg", media.photo(size=(644, 480)))
    world.gemini.script("photo-edit", "I would rather not.", times=2)
    job = world.enhance([key])
    assert job["status"] == "complete" and (job["completedCount"], job["failedCount"]) == (1, 0)
    assert job["items"][0]["phase"] == "complete" and "error" not in job["items"][0] and job["items"][0]["version"] == 1
    assert len(world.gemini.requests("photo-edit")) == 3
    failures = [
        e["taskFailedEventDetails"]["error"]
        for e in world.history("enhancement", job["id"])
        if e["type"] == "TaskFailed"
    ]
    assert failures == ["AiRefused"] * 2


def test_19_one_fails_for_good_and_all_fail(world):
    good = [world.put(f"g{n}.jpg", media.photo("beach", (600 + n, 400))) for n in range(2)]
    bad = world.put("bad.jpg", media.photo("church", (500, 300)))
    world.gemini.block("photo-edit", times=3, when=media.sized(500, 300))
    job = world.enhance([*good, bad])
    assert job["status"] == "complete" and (job["totalCount"], job["completedCount"], job["failedCount"]) == (3, 3, 1)
    items = by_name(job)
    assert items["bad.jpg"]["phase"] == "error" and "SAFETY" in items["bad.jpg"]["error"]
    assert {items[f"g{n}.jpg"]["phase"] for n in range(2)} == {"complete"}

    world.gemini.fail("photo-edit", status=400, times=6)
    job = world.enhance([good[0], bad])
    assert (job["status"], job["error"], job["failedCount"], job["completedCount"]) == (
        "error",
        "all items failed",
        2,
        2,
    )
    assert {item["phase"] for item in job["items"]} == {"error"}
    assert world.session not in json.dumps([item["error"] for item in job["items"]])


def test_19_a_busy_model_is_asked_again(world):
    key = world.put("a.jpg", media.photo(size=(646, 480)))
    world.gemini.fail("photo-edit", status=429, times=2)
    job = world.enhance([key])
    assert job["status"] == "complete"
    history = world.history("enhancement", job["id"])
    assert not [e for e in history if e["type"] == "TaskFailed"], "within one call of the function"


def test_20_the_gate_and_the_mask_edits(world):
    sizes = {"excellent.jpg": (610, 400), "one.jpg": (620, 400), "five.jpg": (630, 400)}
    keys = [world.put(name, media.photo("harbour", size)) for name, size in sizes.items()]
    world.gemini.script("photo-analysis", analysis(8.6, local(), overall()), when=media.sized(610, 400))
    world.gemini.script(
        "photo-analysis", analysis(7.0, local("top-left"), local("center", impact="low")), when=media.sized(620, 400)
    )
    five = [local(region) for region in ("top-left", "center", "bottom-right", "top-right", "bottom-left")]
    world.gemini.script("photo-analysis", analysis(7.0, *five), when=media.sized(630, 400))
    items = by_name(world.enhance(keys))
    assert {name: item["imagenEdits"] for name, item in items.items()} == {
        "excellent.jpg": 0,
        "one.jpg": 1,
        "five.jpg": 3,
    }
    assert {item["phase"] for item in items.values()} == {"complete"}
    assert items["excellent.jpg"]["analysis"]["professionalScore"] == 8.6
    edits = world.gemini.requests("mask-edit")
    assert len(edits) == 4
    assert [request.size for request in edits].count((610, 400)) == 0

    (edit,) = [request for request in edits if request.size == (620, 400)]
    before, mask, after = (
        np.asarray(vision.open_image(data)).astype(int)
        for data in (*edit.pictures, world.bucket.get(items["one.jpg"]["enhancedKey"]))
    )
    inside = mask[..., 0] > 127
    assert (after[~inside] == before[~inside]).all(), "what the mask keeps is the same, pixel by pixel"
    assert np.abs(after[inside] - before[inside]).mean() > 3
    world.gemini.clear()


def test_20_a_second_global_pass(world):
    key = world.put("a.jpg", media.photo("church", (654, 400)))
    world.gemini.script("photo-analysis", analysis(6.0, overall("medium"), overall("low")))
    item = world.enhance([key])["items"][0]
    _, second = world.gemini.requests("photo-edit")
    assert "1. Warm the evening light" in second.texts[-1] and "2." not in second.texts[-1]
    warm = vision.look(world.image(item["enhancedKey"])).cast - vision.look(vision.open_image(second.pictures[0])).cast
    assert warm > 5


def test_21_an_unreadable_analysis(world):
    key = world.put("a.jpg", media.photo(size=(648, 480)))
    world.gemini.script("photo-analysis", "It is lovely! 10/10 {not json")
    item = world.enhance([key])["items"][0]
    assert item["phase"] == "complete" and item["imagenEdits"] == 0
    assert item["analysis"]["professionalScore"] == 8.5 and item["analysis"]["targetScore"] == 9.0
    assert item["analysis"]["noFurtherEditsNeeded"] is True


def test_22_without_mask_editing(tmp_path):
    with World(tmp_path) as world:
        key = world.put("a.jpg", media.photo(size=(622, 400)))
        world.gemini.script("photo-analysis", analysis(6.0, local()))
        job = world.enhance([key])
        assert job["items"][0]["phase"] == "complete" and job["items"][0]["imagenEdits"] == 0
        assert not world.gemini.requests("mask-edit")


def test_23_the_mask_of_the_centre(world):
    mask = np.asarray(masks.mask("center", (900, 600)))
    expected = np.zeros((600, 900), dtype=np.uint8)
    expected[155:445, 255:645] = 255
    assert (mask == expected).all()

    world.gemini.output = "PNG"
    key = world.put("a.jpg", media.photo("mountain", (2100, 1400)))
    world.gemini.script("photo-analysis", analysis(6.0, local("center")))
    assert world.enhance([key])["items"][0]["imagenEdits"] == 1
    (edit,) = world.gemini.requests("mask-edit")
    picture, mask = (Image.open(io.BytesIO(data)) for data in edit.pictures)
    assert mask.format == "PNG" and mask.size == picture.size != (2100, 1400)
    references = edit.body["instances"][0]["referenceImages"]
    assert [(r["referenceType"], r["referenceId"]) for r in references] == [
        ("REFERENCE_TYPE_RAW", 1),
        ("REFERENCE_TYPE_MASK", 2),
    ]
    assert base64.b64decode(references[1]["referenceImage"]["bytesBase64Encoded"]) == edit.pictures[1]
    assert edit.body["parameters"] == {"sampleCount": 1, "editMode": "EDIT_MODE_INPAINT_REMOVAL"}


@pytest.mark.parametrize(
    ("region", "box"),
    [
        ("top-left", (0, 0, 345, 245)), ("top-center", (255, 0, 645, 245)), ("center-right", (555, 155, 900, 445)),
        ("bottom-right", (555, 355, 900, 600)), ("foreground", (180, 120, 720, 480)), ("global", (0, 0, 900, 600)),
    ],
)  # fmt: skip
def test_23_other_regions(region, box):
    assert masks.mask(region, (900, 600)).getbbox() == box
    assert set(np.unique(masks.mask(region, (900, 600)))) <= {0, 255}


def test_23_background_is_a_frame():
    mask = np.asarray(masks.mask("background", (900, 600)))
    assert (mask[120:480, 180:720] == 0).all() and int((mask == 0).sum()) == 360 * 540
    with pytest.raises(ValueError, match="sideways"):
        masks.mask("sideways", (10, 10))


def test_24_thumbnails_and_names_of_results(world):
    png = world.put("a.jpg", media.photo(size=(650, 480)))
    world.gemini.output = "PNG"
    item = world.enhance([png])["items"][0]
    assert item["enhancedKey"].endswith("/enhanced/a.jpg.png")
    assert world.bucket.head(item["enhancedKey"]).content_type == "image/png"
    assert world.image(item["enhancedKey"]).format == "PNG"
    thumbnail = world.image(item["enhancedThumbKey"])
    assert thumbnail.format == "JPEG" and max(thumbnail.size) == 400
    world.gemini.output = "JPEG"
    heic = world.put("b.heic", media.photo("market", (640, 480), "HEIF"))
    item = world.enhance([heic])["items"][0]
    assert item["enhancedKey"].endswith("/enhanced/b.heic.jpg")
    assert world.bucket.head(item["enhancedKey"]).content_type == "image/jpeg"
    assert world.image(item["enhancedKey"]).format == world.image(item["enhancedThumbKey"]).format == "JPEG"
