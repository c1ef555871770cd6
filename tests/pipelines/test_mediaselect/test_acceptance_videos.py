"""Acceptance statements 25 to 29: grouping, colour tables, and films that were really rendered."""

import io
import math

import av
import holiday
import numpy as np
import pytest
from geminisim import vision
from mediaselect.filters import Filters
from PIL import Image

from mediaselect import ffmpeg, grading

from . import media
from .world import World


@pytest.fixture(scope="module")
def filter_world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("filters"), VIDEO_ENHANCE_MODE="filters") as running:
        yield running


def decoded(data):
    """Frames, duration, frame rate, size, audio codec and container of a film."""
    with av.open(io.BytesIO(data)) as film:
        video = film.streams.video[0]
        audio = film.streams.audio[0].codec_context.name if film.streams.audio else None
        frames = [frame.to_image() for frame in film.decode(video)]
        return frames, float(video.base_rate), (video.width, video.height), audio, film.format.name


def measured(frames):
    looks = [vision.look(frame) for frame in frames[:: max(1, len(frames) // 8)]]
    return {
        name: float(np.mean([getattr(look, name) for look in looks])) for name in ("mean", "spread", "colour", "noise")
    }


def test_25_histograms_and_groups():
    same, black, white = media.solid("red"), media.solid("black"), media.solid("white")
    assert grading.correlation(grading.histogram(same), grading.histogram(same)) == 1.0
    assert grading.correlation(grading.histogram(black), grading.histogram(white)) < 0.92
    dark, light = grading.histogram(black), grading.histogram(white)
    groups = grading.group_frames([dark] * 11 + [light] * 11, 10.0)
    assert groups == [grading.Group(0, 11), grading.Group(11, 11)]
    assert groups[0].representative == 5
    flat = np.full(grading.BINS**3, 1 / grading.BINS**3)
    assert grading.correlation(flat, light) == 1.0
    assert math.isclose(float(grading.histogram(holiday.scene("beach", (64, 48))).sum()), 1.0)


def test_25_unreadable_frames_and_short_groups():
    dark, light = grading.histogram(media.solid("black")), grading.histogram(media.solid("white"))
    assert grading.group_frames([dark] * 6 + [None] + [dark] * 6, 10.0) == [grading.Group(0, 6), grading.Group(7, 6)]
    assert grading.group_frames([dark] * 10 + [light] * 2 + [dark] * 10, 10.0) == [
        grading.Group(0, 12),
        grading.Group(12, 10),
    ]
    assert grading.group_frames([None, None], 10.0) == []
    colours = [grading.histogram(media.solid((8 * n, 255 - 8 * n, 16))) for n in range(30)]
    groups = grading.group_frames([colour for colour in colours for _ in range(5)], 10.0)
    assert len(groups) == grading.MAX_GROUPS and sum(group.count for group in groups) == 150


def test_26_identity_and_order_of_the_table(tmp_path):
    picture = holiday.scene("market", (200, 150))
    table = grading.lookup_table(picture, picture)
    assert (table == grading.identity()).all()
    text = grading.cube_text(table)
    rows = [line for line in text.splitlines() if line[0].isdigit()]
    assert len(rows) == 33**3 and rows[1] == "0.031250 0.000000 0.000000", "red is the fastest index"
    (tmp_path / "identity.cube").write_text(text)
    media.solid((254, 30, 0)).save(tmp_path / "red.png")
    ffmpeg.run(
        ["-i", str(tmp_path / "red.png"), "-vf", f"lut3d=file={tmp_path}/identity.cube", str(tmp_path / "out.png")],
        timeout=20,
        what="test",
    )
    red, green, blue = Image.open(tmp_path / "out.png").convert("RGB").getpixel((50, 50))
    assert abs(red - 254) <= 2 and abs(green - 30) <= 2 and blue <= 2


def test_26_a_grade_is_carried_over(tmp_path):
    original = holiday.scene("harbour", (320, 240))
    graded, _ = vision.enhance(holiday.dim(original, 0.6, 0.8), "", detail=False)
    source = holiday.dim(original, 0.6, 0.8)
    (tmp_path / "g.cube").write_text(grading.cube_text(grading.lookup_table(source, graded)))
    source.save(tmp_path / "in.png")
    ffmpeg.run(
        ["-i", str(tmp_path / "in.png"), "-vf", f"lut3d=file={tmp_path}/g.cube", str(tmp_path / "out.png")],
        timeout=20,
        what="test",
    )
    out = np.asarray(Image.open(tmp_path / "out.png").convert("RGB")).astype(int)
    assert np.abs(out - np.asarray(graded).astype(int)).mean() < 4
    assert np.abs(out - np.asarray(source).astype(int)).mean() > 20


@pytest.mark.parametrize(("graded", "same"), [((160, 120), True), ((80, 60), True), ((160, 100), False)])
def test_26_grades_of_another_shape_are_rejected(graded, same):
    picture = holiday.scene("church", (160, 120))
    assert grading.is_same_picture(picture, picture.resize(graded)) is same
    assert not grading.is_same_picture(picture, holiday.scene("market", (160, 120)))


def test_27_the_film_keeps_its_measures(world):
    source = media.film("beach", seconds=40.0, fps=30.0, size=(128, 72))
    key = world.put("long.mp4", source)
    small = world.put("clip.webm", media.film("harbour", suffix=".webm"))
    job = world.enhance([key, small])
    assert job["status"] == "complete", job
    before, after = decoded(source), decoded(world.bucket.get(job["items"][0]["enhancedKey"]))
    assert len(before[0]) == 1200 and abs(len(after[0]) - 1200) <= 1
    assert after[1:4] == before[1:4] == (30.0, (128, 72), "aac")
    assert "1 of 1 scene graded" in job["items"][0]["phase1Text"]
    dim, bright = measured(before[0]), measured(after[0])
    assert abs(bright["mean"] - 118) < abs(dim["mean"] - 118) - 10 and bright["spread"] > dim["spread"] * 1.3

    assert job["items"][1]["enhancedKey"].endswith("/enhanced/clip.webm.mp4")
    frames, _, size, audio, container = decoded(world.bucket.get(job["items"][1]["enhancedKey"]))
    assert len(frames) == 12 and size == (160, 120) and audio and "mp4" in container
    thumbnail = world.image(job["items"][1]["enhancedThumbKey"])
    assert thumbnail.format == "JPEG" and thumbnail.size == (160, 120)


@pytest.mark.parametrize("known", [True, False])
def test_27_odd_measures_become_even(tmp_path, known):
    odd, made = tmp_path / "odd.webm", tmp_path / "made.mp4"
    picture = "testsrc=size=161x121:rate=10:duration=0.5"
    ffmpeg.run(
        ["-f", "lavfi", "-i", picture, "-pix_fmt", "yuv444p", "-c:v", "libvpx-vp9", str(odd)], timeout=60, what="-"
    )
    ffmpeg.encode(odd, made, "format=yuv420p", ffmpeg.probe(str(odd)) if known else None, timeout=60)
    frames, rate, size, _, _ = decoded(made.read_bytes())
    assert (len(frames), rate, size) == (5, 10.0, (160, 120))


def test_27_each_scene_has_its_own_grade(world):
    dark = holiday.dim(holiday.scene("church", (160, 120)), 0.4, 0.7)
    light = holiday.dim(holiday.scene("mountain", (160, 120)), 1.5, 0.6)
    key = world.put("two.mp4", holiday.film([dark, light], seconds=2.4, fps=10.0, size=(160, 120)))
    item = world.enhance([key])["items"][0]
    assert "2 of 2 scenes graded" in item["phase1Text"]
    assert len(world.gemini.requests("frame-edit")) >= 2
    before, after = decoded(world.bucket.get(key))[0], decoded(world.bucket.get(item["enhancedKey"]))[0]
    assert vision.look(after[5]).mean > vision.look(before[5]).mean + 20
    assert vision.look(after[20]).mean < vision.look(before[20]).mean - 10


def test_27_frames_fail_filters_help(world):
    key = world.put("v.mp4", media.film("church"))
    world.gemini.block("frame-edit", times=9)
    item = world.enhance([key])["items"][0]
    assert item["phase"] == "complete" and item["phase1Text"].startswith("Filters applied: ")


def test_28_too_long_a_film(world):
    key = world.put("endless.mp4", media.film(seconds=301.0, fps=1.0, size=(64, 48), audio=False))
    job = world.enhance([key])
    (item,) = job["items"]
    assert (job["status"], item["phase"]) == ("error", "error") and "5 minutes" in item["error"]
    history = world.history("enhancement", job["id"])
    assert [e["taskFailedEventDetails"]["error"] for e in history if e["type"] == "TaskFailed"] == ["MediaTooLarge"]
    assert not world.gemini.requests("frame-edit") and not world.gemini.requests("video-filters")


def test_29_clamped_filters():
    wild = Filters.read(
        {"brightness": 9, "contrast": -3, "saturation": float("nan"), "gamma": "1.2", "temperatureKelvin": 99999, "sharpen": 7,
         "denoise": "extreme", "stabilize": ["strong"], "unknown": 1, "x;drawtext=": 2}
    )  # fmt: skip
    assert wild == Filters(brightness=0.25, contrast=0.8, temperatureKelvin=9000.0, sharpen=1.5)
    assert wild.chain() == [
        "eq=brightness=0.2500:contrast=0.8000",
        "colortemperature=temperature=9000",
        "unsharp=5:5:1.500:5:5:0",
    ]
    assert Filters.read({"denoise": "medium"}).chain() == ["hqdn3d=4:3:6:4.5"]
    assert Filters.read(None).neutral and Filters.read({"contrast": True}).neutral


def answer(**filters):
    return {
        "overallAssessment": "", "professionalScore": 6.0, "targetScore": 8.5, "noFurtherEditsNeeded": False, "filters": filters,
        "rationale": "",
    }  # fmt: skip


def test_29_neutral_answer_and_no_change(filter_world):
    world = filter_world
    source = media.film("market")
    key = world.put("v.mp4", source)
    world.gemini.script("video-filters", answer(brightness=0, contrast=1, denoise="extreme"))
    item = world.enhance([key])["items"][0]
    assert (item["phase"], item["phase1Text"]) == ("complete", "no changes needed")
    assert world.bucket.get(item["enhancedKey"]) == source
    assert item["enhancedKey"].endswith("/enhanced/v.mp4")
    small = world.bucket.get(f"{world.session}/compressed/v.webm")
    assert "webm" in decoded(small)[4], "what the model was shown is kept for the UI"


def test_29_filters_change_brightness_contrast_and_noise(filter_world):
    """The whole of filters mode, measured before and after."""
    world = filter_world
    world.gemini.clear()
    noisy = holiday.film(
        [holiday.dim(holiday.scene("beach", (320, 240)), 0.5, 0.6)], seconds=1.5, fps=20.0, size=(320, 240), noise=14.0
    )
    key = world.put("noisy.mp4", noisy)
    item = world.enhance([key])["items"][0]
    assert item["phase1Text"].startswith("Filters applied: "), item
    before, after = measured(decoded(noisy)[0]), measured(decoded(world.bucket.get(item["enhancedKey"]))[0])
    assert after["mean"] > before["mean"] + 8 and abs(after["mean"] - 118) < abs(before["mean"] - 118)
    assert after["spread"] > before["spread"] * 1.1
    assert 2 <= len(world.gemini.requests("video-filters")) <= 4
    assert not world.gemini.files, "uploaded previews are removed"

    # Noise alone: brighter pictures show more of it, so it is measured with nothing else changed.
    world.gemini.script("video-filters", answer(denoise="strong"))
    world.gemini.script("video-filters", {**answer(denoise="strong"), "professionalScore": 9.0})
    item = world.enhance([key])["items"][0]
    assert item["phase1Text"] == "Filters applied: denoise strong."
    after = measured(decoded(world.bucket.get(item["enhancedKey"]))[0])
    assert after["noise"] < before["noise"] * 0.6 and abs(after["mean"] - before["mean"]) < 3


def test_29_stabilised(filter_world):
    world = filter_world
    source = media.film("street", size=(240, 180), seconds=1.0)
    key = world.put("shaky.mp4", source)
    wanted = answer(stabilize="light", sharpen=0.5)
    world.gemini.script("video-filters", wanted)
    world.gemini.script("video-filters", {**wanted, "professionalScore": 9.0})
    item = world.enhance([key])["items"][0]
    assert item["phase1Text"] == "Filters applied: sharpen 0.5, stabilize light."
    before, after = decoded(source), decoded(world.bucket.get(item["enhancedKey"]))
    assert len(after[0]) == len(before[0]) and after[1:3] == before[1:3]
    moved = [
        np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).mean()
        for a, b in zip(before[0], after[0], strict=True)
    ]
    assert np.mean(moved) > 1
