"""Task tokens: who may answer for which attempt.

A token is the URL-safe base64 of (execution ARN, command, nonce) as a msgpack array: a host can route it without a
table, and nobody can guess it because the nonce is 128 bits of the host's randomness.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

__all__ = ["TaskToken", "decode", "encode"]


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
