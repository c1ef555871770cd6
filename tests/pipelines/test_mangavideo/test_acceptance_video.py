"""Statements 22 to 25: scenes, frames, and what is really in the video."""

import io
from itertools import pairwise

import numpy
import pytest
from mangavideo.errors import RenderError
from mangavideo.scenes import build, on_grid, total_seconds
from mangaworld import Chapter, Manga, Page, draw, paper, tone
from PIL import Image

from mangavideo import mp3, scenes, video

from .world import decoded


def segment(seconds, start=0, end=-1, missing=False):
    return {"duration_seconds": seconds, "panel_start": start, "panel_end": end, "missing": missing}


PANELS = [f"p{n}" for n in range(20)]


@pytest.mark.parametrize(
    ("seconds", "panels", "count", "each"),
    [(60, 10, 10, 6.0), (10, 10, 5, 2.0), (14.4, 7, 7, 14.4 / 7), (1.5, 4, 1, 1.5), (30, 1, 1, 30.0)],
)
def test_22_scenes(seconds, panels, count, each):
    made = build([segment(seconds, 0, panels - 1)], PANELS)
    assert [scene.seconds for scene in made] == pytest.approx([each] * count)
    assert [scene.panel for scene in made] == PANELS[:count], "the first ones"


def test_23_segments_without_panels_keep_the_rest_in_place():
    audio = [
        segment(7.13, 0, 2),
        segment(5.01, 3, 2),
        segment(0.0, 3, 3, missing=True),
        segment(9.97, 3, 5),
        segment(4.4, 6, 6),
    ]
    made = build(audio, PANELS)
    total = 7.13 + 5.01 + 9.97 + 4.4
    assert abs(total_seconds(made) - total) < 0.05
    assert made[3].panel == made[2].panel, "the picture before stays"
    assert made[4].start == pytest.approx(12.14)
    assert all(a.frame + a.frames == b.frame for a, b in pairwise(made)), "no gap on the grid"
    assert made[-1].frame + made[-1].frames == on_grid(total)
    first = build([segment(3.0, 0, -1), segment(3.0, 0, 0)], PANELS)
    assert [scene.panel for scene in first] == [None, "p0"], "the cover, or black, before the first picture"


TEXTS = {"1": (330.0, 4.2), "2": (660.0, 2.9), "3": (990.0, 1.5)}
"""Chapter to the tone it is spoken with, and its length."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A job of three chapters: a long page and an ordinary one, two with transparency, three for 1.5 s."""
    from .world import World

    def drawn(chapter, page, size=(300, 400), form="JPEG"):
        return Page(draw("Shown", chapter, page, size, form))

    clear = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    clear.paste((200, 30, 30, 255), (100, 75, 300, 225))
    out = io.BytesIO()
    clear.save(out, "PNG")
    transparent = Page(out.getvalue(), "image/png", "png")
    chapters = [
        Chapter("c-1", "1", [drawn("1", 0, (1000, 3000)), drawn("1", 1)]),
        Chapter("c-2", "2", [transparent]),
        Chapter("c-3", "3", [drawn("3", 0), drawn("3", 1), drawn("3", 2)]),
    ]

    def voice(text, name):
        frequency, seconds = TEXTS[text.split()[2]]
        return tone(frequency, seconds)

    with World(
        tmp_path_factory.mktemp("shown") / "data", [Manga("m-1", {"en": "Shown"}, chapters)], voice=voice
    ) as world:
        world.model.tell = lambda prompt: "Lời kể " + prompt.split("Chương ")[1].split(":")[0] + " của một chương."
        world.set(manual_review_mode=True)
        run = world.run()
        job = f"{run.name}-0"
        manifest = world.document(f"jobs/{job}/audio_manifest.json")
        yield world, run, job, manifest, world.bucket.get(f"jobs/{job}/video.mp4")


def test_24_what_is_in_the_video(shown, tmp_path):
    _world, _run, _job, manifest, data = shown
    path = tmp_path / "v.mp4"
    path.write_bytes(data)
    found = video.probe(path)
    assert (found.width, found.height, found.frame_rate) == (1920, 1080, 24.0)
    assert (found.video_codec, found.audio_codec) == ("h264", "aac")
    assert abs(found.video_seconds - found.audio_seconds) <= 0.5
    assert data.index(b"moov") < data.index(b"mdat"), "it plays while it loads"

    frames, samples, rate = decoded(data)
    lengths = [entry["duration_seconds"] for entry in manifest["segments"]]
    starts = [sum(lengths[:n]) for n in range(4)]
    assert len(frames) == on_grid(starts[3]) == found.frames
    assert len(samples) / rate == pytest.approx(starts[3], abs=0.1)
    assert lengths == pytest.approx([seconds for _, seconds in TEXTS.values()], abs=0.1), (
        "measured from the audio itself"
    )

    # Each panel is on screen in its span: its paper's tint, at the picture's left edge, in the first and last frame of the span.
    half = lengths[0] / 2
    spans = [
        (0, half, paper("Shown", "1", 0), 960 - 180 + 10),
        (half, starts[1], paper("Shown", "1", 1), 960 - 405 + 12),
        (starts[2], starts[3], paper("Shown", "3", 0), 960 - 405 + 12),
    ]
    for begin, end, tint, x in spans:
        for number in (on_grid(begin), on_grid((begin + end) / 2), on_grid(end) - 1):
            pixel = frames[number][54, x // 10]
            assert numpy.abs(pixel.astype(int) - tint).max() < 14, (number, pixel, tint)
    transparent = frames[on_grid(starts[1] + 0.5)]
    assert transparent[8, 96].max() < 16 and transparent[54, 96][0] > 150, "alpha is flattened on black"

    # A page of 1000x3000 is 360 px wide, in the middle.
    bright = numpy.flatnonzero(frames[2][54].max(axis=1) > 60)
    assert (bright[0] * 10, bright[-1] * 10) == (780, 1130)

    # The sound is where it should be: each chapter's tone dominates its span, from its beginning to its end.
    for number, (frequency, _) in enumerate(TEXTS.values()):
        for at in (starts[number] + 0.15, (starts[number] + starts[number + 1]) / 2, starts[number + 1] - 0.35):
            window = samples[int(at * rate) : int((at + 0.2) * rate)]
            spectrum = numpy.abs(numpy.fft.rfft(window * numpy.hanning(len(window))))
            assert abs(spectrum.argmax() * 5.0 - frequency) <= 10, (number, at)
            assert window.std() > 0.02


def test_26_review(shown):
    world, run, job, _, data = shown
    assert run.visited[-4:] == ["ReviewChoice", "IncrementCounter", "CheckMoreVideos", "Done"]
    assert world.job(job)["status"] == "awaiting_review"
    assert world.job(job)["progress_pct"] == 85
    assert not world.machines("uploader") and not world.host.requests
    assert len(data) == run.inputs("ReviewChoice")[0]["renderResult"]["size_bytes"]
    assert not any(key.startswith("chunks/") or key == "checkpoint.json" for key in world.keys(job))
    assert not list((world.data / "render").iterdir()), "nothing is left on the machine"
    result = world.call("uploader", job_id=job)
    assert result == {"job_id": job, "youtube_url": "https://youtube.com/watch?v=vid1", "status": "success"}
    assert world.uploaded() == [data]
    assert world.keys(job) == [] and world.titles.get("m-1")["status"] == "completed"


def test_25_many_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "WIDTH", 320)  # what is shown does not matter here, but when
    monkeypatch.setattr(video, "HEIGHT", 180)
    each = 0.1009
    made = build([segment(each, n, n) for n in range(250)], [f"p{n}" for n in range(250)])
    groups = scenes.chunked(made)
    assert [len(group) for group in groups] == [100, 100, 50]
    pictures = []
    for number in range(2):
        source = tmp_path / f"{number}.jpg"
        Image.new("RGB", (160, 90), (0, 0, 250) if number else (250, 250, 0)).save(source)
        pictures.append(tmp_path / f"{number}.bmp")
        video.compose(source, pictures[-1])
    ffmpeg = video.Ffmpeg("ultrafast")
    chunks = []
    for number, group in enumerate(groups):
        chunks.append(tmp_path / f"chunk_{number}.mp4")
        ffmpeg.chunk(group, [pictures[scene.frame % 2] for scene in group], chunks[-1])
    (tmp_path / "a.mp3").write_bytes(tone(440, 60))
    ffmpeg.assemble(chunks, tmp_path / "a.mp3", tmp_path / "all.mp4")
    import av

    with av.open(str(tmp_path / "all.mp4")) as container:
        stream = container.streams.video[0]
        at = []
        for frame in container.decode(stream):
            luma = frame.planes[0]
            bright = memoryview(luma)[90 * luma.line_size + 160] > 100
            at.append((float(frame.pts * stream.time_base), bright))
    assert len(at) == round(24 * 250 * each)
    assert [seconds for seconds, _ in at] == pytest.approx([n / 24 for n in range(len(at))], abs=1e-3), (
        "no frame is lost at a seam"
    )
    for scene in made:
        expected = scene.frame % 2 == 0
        assert {bright for _, bright in at[scene.frame : scene.frame + scene.frames]} == {expected}, scene


def test_pictures_of_all_kinds(tmp_path):
    """Palette, grey, CMYK, animation and a broken file."""
    frames = [Image.new("P", (40, 30), n) for n in (1, 2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    Image.new("L", (10, 20), 200).save(tmp_path / "b.png")
    Image.new("CMYK", (10, 20)).save(tmp_path / "c.jpg")
    Image.new("LA", (10, 20), (200, 0)).save(tmp_path / "d.webp")
    for name in ("a.gif", "b.png", "c.jpg", "d.webp"):
        video.compose(tmp_path / name, tmp_path / "out.bmp")
        assert Image.open(tmp_path / "out.bmp").size == (1920, 1080)
    (tmp_path / "e.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(video.UnreadablePanel):
        video.compose(tmp_path / "e.jpg", tmp_path / "out.bmp")


def test_ffmpeg_says_why(tmp_path):
    with pytest.raises(RenderError, match="No such file"):
        video.Ffmpeg().run(["-i", str(tmp_path / "absent.mp4"), str(tmp_path / "x.mp4")])
    assert mp3.duration(tone(440, 1.0)) == pytest.approx(1.0, abs=0.1)
