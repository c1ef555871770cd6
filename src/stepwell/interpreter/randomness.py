"""Randomness that replays: SplitMix64, seeded by the event that is being handled.

The generator is Steele, Lea and Flood's (OOPSLA 2014); it is tiny, has no state beyond one number, and passes
BigCrush. It makes task tokens, jitter, States.UUID and States.MathRandom; its seed comes from the host's own
source of secrets, so that a token is as hard to guess as the seed.
"""

from __future__ import annotations

import uuid

__all__ = ["Random"]

_MASK = (1 << 64) - 1


class Random:
    """Draws of one event. Satisfies `language.scope.RandomSource`."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def bits64(self) -> int:
        """64 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def random(self) -> float:
        """A float in [0, 1)."""
        return (self.bits64() >> 11) * 2.0**-53

    def randint(self, a: int, b: int) -> int:
        """An integer in [a, b], both ends included."""
        return a + self.bits64() * (b - a + 1) // (1 << 64)

    def uuid4(self) -> str:
        """A version 4 UUID in its canonical lower-case text form."""
        return str(uuid.UUID(int=(self.bits64() << 64) | self.bits64(), version=4))

    def nonce(self) -> str:
        """128 random bits as hexadecimal digits."""
        return f"{self.bits64():016x}{self.bits64():016x}"
