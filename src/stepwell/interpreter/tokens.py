"""Task tokens: who may answer for which attempt.

A token is the URL-safe base64 of (execution ARN, command, nonce) as a msgpack array: a host can route it without a
table, and nobody can guess it because the nonce is 128 bits of the host's randomness.
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

__all__ = ["TaskToken", "conceal", "decode", "encode"]


class TaskToken(msgspec.Struct, frozen=True, array_like=True):
    """What a token says."""

    execution_arn: str
    command: int
    nonce: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TaskToken)


def encode(execution_arn: str, command: int, nonce: str) -> str:
    """The token's text: letters, digits, `-` and `_`, at most 1,024 characters for any legal ARN."""
    data = _encoder.encode(TaskToken(execution_arn, command, nonce))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(token: str) -> TaskToken:
    """What the token says. ValueError when the text is not a token."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return _decoder.decode(data)
    except (binascii.Error, msgspec.DecodeError, UnicodeEncodeError, ValueError) as error:
        raise ValueError("not a task token") from error


_LOOKS_LIKE_TOKEN = re.compile(r"k9[k-n][\w-]YXJu[\w-]{40,}")
"""An array of three whose first is a string of up to 255 bytes that begins with "arn", in base64."""


def conceal(text: str) -> str:
    """A text for a log: without the task tokens that it holds."""
    return _LOOKS_LIKE_TOKEN.sub("[task token]", text) if "YXJu" in text else text
