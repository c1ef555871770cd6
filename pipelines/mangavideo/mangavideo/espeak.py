"""Speech without a network: eSpeak NG with its Vietnamese voice, from the package espeakng-loader, called by ctypes.

Source: speak_lib.h of eSpeak NG 1.52. The library holds one voice and one callback a process: calls are serialised.
"""

from __future__ import annotations

import ctypes
import subprocess
import threading
from functools import cache
from typing import Any

import espeakng_loader
import imageio_ffmpeg

LANGUAGE = "vi"
WORDS_A_MINUTE = 165
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_UTF8 = 1  # espeakCHARS_UTF8
_RATE, _PITCH = 1, 3  # espeakRATE, espeakPITCH
_PITCHES = {"vi-VN-HoaiMyNeural": 62, "vi-VN-NamMinhNeural": 38}
"""The two voices of the online service, told apart by their pitch (50 is the voice's own)."""

_lock = threading.Lock()
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class EspeakError(Exception):
    """The synthesiser refused."""


@cache
def _library() -> tuple[Any, int]:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0:
        raise EspeakError(f"eSpeak NG could not be initialised ({rate})")
    if library.espeak_SetVoiceByName(LANGUAGE.encode()) != 0:
        raise EspeakError(f"eSpeak NG has no voice for {LANGUAGE!r}")
    return library, rate


def spoken(text: str, voice: str) -> tuple[bytes, int]:
    """16-bit mono samples of a text, and their rate. Raises EspeakError."""
    with _lock:
        library, rate = _library()
        samples = bytearray()

        def take(data: Any, count: int, events: Any) -> int:
            if data and count > 0:
                samples.extend(ctypes.string_at(data, count * 2))
            return 0

        callback = _Callback(take)
        library.espeak_SetSynthCallback(callback)
        library.espeak_SetParameter(_RATE, WORDS_A_MINUTE, 0)
        library.espeak_SetParameter(_PITCH, _PITCHES.get(voice, 50), 0)
        encoded = text.encode() + b"\0"
        code = library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        if code != 0:
            raise EspeakError(f"eSpeak NG answered {code}")
        return bytes(samples), rate


def encoded(samples: bytes, rate: int) -> bytes:
    """MP3 as the online service sends it: 24 kHz, mono, 48 kbit/s, without tags. Raises EspeakError."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-f",
        "s16le",
        "-ar",
        str(rate),
        "-ac",
        "1",
        "-i",
        "pipe:",
    ]
    command += [
        "-ar",
        "24000",
        "-c:a",
        "libmp3lame",
        "-b:a",
        "48k",
        "-write_xing",
        "0",
        "-id3v2_version",
        "0",
        "-f",
        "mp3",
        "pipe:",
    ]
    done = subprocess.run(command, input=samples, capture_output=True, check=False)
    if done.returncode != 0:
        raise EspeakError(f"ffmpeg: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout
