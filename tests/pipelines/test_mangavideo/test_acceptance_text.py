"""Statements 12 to 17: the script and its speech."""

import itertools

import pytest
from mangavideo.errors import ConfigError, LLMAuthError, LLMError, TTSError
from mangavideo.llm import whole_sentences
from mangaworld import Answer, completion, manga, silence, tone

from mangavideo import mp3, spoken, tokens

CHAT = "/chat/completions"


def fetched(world, job="j"):
    world.call("fetcher", job_id=job)
    return job


def script(world, job="j", remaining=900.0, token=None):
    return world.call("scriptgen", remaining, job_id=job, continuation_token=token)


def speak(world, job="j", remaining=900.0, token=None):
    return world.call("ttsgen", remaining, job_id=job, continuation_token=token)


def test_12_retries_of_the_model(make):
    world = make([manga(1, "First Light", 1, 1)], MANGAVIDEO_WAIT_FACTOR="0.1")
    world.model.fail(CHAT, Answer(429, {"error": {"message": "slow down"}}), times=2)
    fetched(world)
    assert script(world)["script_generated"] is True
    at = [request.at for request in world.model.asked(CHAT)]
    assert len(at) == 3
    assert 0.2 <= at[1] - at[0] < 0.35 and 0.4 <= at[2] - at[1] < 0.6, "2 s and 4 s, at a tenth"

    refused = make([manga(2, "Refused", 1, 1)])
    refused.ports.secret("manga-pipeline/deepinfra-api-key").write({"apiKey": "wrong-key-1234"})
    run = refused.run()
    assert [name for name, _ in run.failures()] == ["LLMAuthError"]
    assert len(refused.model.asked(CHAT)) == 1
    job = refused.job(f"{run.name}-0")
    assert (job["status"], job["failed_state"], job["error_name"]) == ("failed", "GenerateScript", "LLMAuthError")
    assert refused.titles.get("m-2")["status"] == "failed"


@pytest.mark.parametrize(("broken", "allowed"), [(4, False), (2, True)])
def test_13_chapters_without_text(make, broken, allowed):
    world = make([manga(1, "First Light", 10, 1)])
    world.model.tell = lambda prompt: (
        "ngắn" if any(f"Chương {n}:" in prompt for n in range(1, broken + 1)) else "Đây là lời kể đủ dài cho chương."
    )
    fetched(world)
    if not allowed:
        with pytest.raises(LLMError, match="4 of 10 chapters"):
            script(world)
        assert not world.document("jobs/j/script.json")["complete"]
        return
    script(world)
    segments = world.document("jobs/j/script.json")["segments"]
    assert [segment["placeholder"] for segment in segments] == [True] * 2 + [False] * 8
    assert segments[0]["text"] == "[Chương này không có sẵn]"


def test_14_panel_ranges(make):
    world = make([manga(1, "First Light", 3, 4)])
    total = world.call("fetcher", job_id="j")["total_panels"]
    script(world)
    segments = world.document("jobs/j/script.json")["segments"]
    assert segments[0]["panel_start"] == 0
    assert segments[-1]["panel_end"] == total - 1 == 11
    assert all(a["panel_end"] + 1 == b["panel_start"] for a, b in itertools.pairwise(segments))
    assert world.job("j")["progress_pct"] == 40


def test_15_splitting():
    text = "Hôm nay trời đẹp, giá 3.14 đồng... Cậu ấy nói: đi thôi! " * 125
    assert len(text) == 7000
    pieces = spoken.split(text)
    assert len(pieces) >= 3
    assert all(len(piece) <= 3000 for piece in pieces)
    assert "".join(pieces) == text
    assert all(piece.rstrip().endswith(("!", "...")) for piece in pieces[:-1])
    assert [len(piece) for piece in spoken.split("a" * 7000)] == [3000, 3000, 1000]
    assert spoken.split("xin, chào " * 2, 12)[0] == "xin, "
    assert spoken.split("giá 12.345 đồng", 9)[0] == "giá "
    assert spoken.split("") == []


def test_16_continuing(make):
    world = make([manga(1, "First Light", 3, 1)])
    fetched(world)
    first = script(world, remaining=100)
    assert first["continuation_needed"] and first["segment_count"] == 1
    assert script(world, token=first["continuation_token"])["script_generated"] is True
    assert len(world.model.asked(CHAT)) == 3, "nothing was told twice"

    begun = speak(world, remaining=60)
    assert begun["continuation_token"] is not None
    assert (begun["segments_processed"], begun["next_segment_offset"], begun["audio_generated"]) == (1, 1, False)
    assert world.job("j")["status"] == "tts" and world.job("j")["progress_pct"] == 46
    done = speak(world, token=begun["continuation_token"])
    assert (done["continuation_token"], done["segments_processed"]) == (None, 3)
    manifest = world.document("jobs/j/audio_manifest.json")
    assert [segment["index"] for segment in manifest["segments"]] == [0, 1, 2]
    said = len(world.speech.spoken)
    assert speak(world, token=begun["continuation_token"]) == done
    assert world.document("jobs/j/audio_manifest.json") == manifest
    assert len(world.speech.spoken) == said == 3
    with pytest.raises(ConfigError):
        speak(world, token=tokens.made("another", 1))


@pytest.mark.parametrize(("broken", "allowed"), [(1, True), (3, False)])
def test_17_segments_without_speech(make, broken, allowed):
    world = make([manga(1, "First Light", 20, 1)], MAX_CHAPTERS=20, voice=lambda text, voice: tone(440, 0.2))
    world.model.tell = lambda prompt: "Chương số " + prompt.split("Chương ")[1].split(":")[0] + " thật là hay."
    world.speech.fails = lambda text: any(f"Chương số {n} " in text for n in range(1, broken + 1))
    fetched(world)
    script(world)
    if not allowed:
        with pytest.raises(TTSError, match="3 of 20"):
            speak(world)
        return
    speak(world)
    segments = world.document("jobs/j/audio_manifest.json")["segments"]
    assert [segment["missing"] for segment in segments] == [True] + [False] * 19
    assert (segments[0]["s3_key"], segments[0]["duration_seconds"]) == (None, 0.0)
    assert sum("Chương số 1 " in text for _, text in world.speech.spoken) == 3, "three attempts"
    world.jobs.mutate("j", lambda row: {**row, "status": "failed"})
    run = world.run({"job_id": "j", "single_video_mode": True})
    assert run.last == "Done" and len(world.uploaded()) == 1, "the video is made without it"


def test_speech_survives_a_cut_line_and_a_refusal(make):
    world = make([manga(1, "First Light", 1, 1)])
    world.speech.cut, world.speech.refuse = 1, [500]
    fetched(world)
    script(world)
    assert speak(world)["audio_generated"] is True
    assert world.speech.connections == 3, "each attempt connects anew"
    assert world.speech.spoken[0][0].endswith("(vi-VN, HoaiMyNeural)")


def test_blank_text_is_no_crash(make):
    """F21: a segment without text is missing; nothing divides by its duration."""
    import json

    world = make([manga(1, "First Light", 12, 1)], MAX_CHAPTERS=12)
    fetched(world)
    script(world)
    document = world.document("jobs/j/script.json")
    document["segments"][0]["text"] = "  \n "
    world.bucket.put("jobs/j/script.json", json.dumps(document).encode())
    assert speak(world)["audio_generated"] is True
    assert world.document("jobs/j/audio_manifest.json")["segments"][0]["missing"] is True


def test_answers_that_are_cut_or_empty(make):
    world = make([manga(1, "First Light", 1, 1)])
    fetched(world)
    long = "Câu thứ nhất đủ dài để kể. Câu thứ hai cũng vậy. Câu thứ ba bị"
    world.model.fail(CHAT, Answer(200, completion(long, finish_reason="length")))
    script(world)
    assert world.document("jobs/j/script.json")["segments"][0]["text"].endswith("cũng vậy.")
    assert whole_sentences("không có câu nào") == "không có câu nào"
    prompts = world.model.requests[0].json()
    assert prompts["messages"][1]["content"].startswith("Truyện: First Light\nThể loại: Action\n")
    assert (prompts["max_tokens"], prompts["temperature"]) == (4096, 0.7)


def test_key_that_is_missing(make):
    world = make()
    world.ports.secret("manga-pipeline/deepinfra-api-key").write({"api_key": ""})
    fetched(world)
    with pytest.raises(ConfigError, match="no api_key"):
        script(world)
    assert issubclass(LLMAuthError, Exception)


def test_text_is_made_plain():
    text = "## Chương 1\n\n* **Kira** chạy [tiếng gió] đi 🚀  nhanh.\n```\ncode\n```\n[xem](https://a.b/c) tại https://x.y !\n1. Hết"
    assert spoken.sanitised(text) == "Chương 1\nKira chạy đi nhanh.\nxem tại!\nHết"


def test_mp3_is_measured():
    one, two = silence("a" * 50), silence("b" * 100)
    assert mp3.duration(one) == pytest.approx(3.0, abs=0.1)
    assert mp3.duration(mp3.joined([one, two])) == pytest.approx(mp3.duration(one) + mp3.duration(two), abs=1e-9)
    tagged = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + b"\xff\xfb" + b"x" * 8 + one
    assert mp3.duration(tagged) == mp3.duration(one)
    assert mp3.duration(b"nothing") == 0.0


def test_espeak_speaks_vietnamese():
    """Real audio, different for each voice, as long as it says."""
    pytest.importorskip("espeakng_loader")
    from mangavideo.speech import service

    text = "Xin chào các bạn, hôm nay chúng ta cùng xem một câu chuyện."
    woman = service("espeak").synthesise(text, "vi-VN-HoaiMyNeural")
    man = service("espeak").synthesise(text, "vi-VN-NamMinhNeural")
    assert woman != man
    assert 2.5 < mp3.duration(woman) < 6
    assert mp3.duration(service("espeak").synthesise(text * 2, "vi-VN-HoaiMyNeural")) > 1.8 * mp3.duration(woman)
