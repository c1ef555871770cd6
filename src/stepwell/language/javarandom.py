"""java.util.Random, whose documented algorithm AWS's seeded random functions follow (`$random(42)` is 0.7275636800328681)."""

__all__ = ["JavaRandom"]

_MASK = (1 << 48) - 1


class JavaRandom:
    """The generator of java.util.Random: a 48-bit linear congruence."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ 0x5DEECE66D) & _MASK

    def _next(self, bits: int) -> int:
        self._state = (self._state * 0x5DEECE66D + 0xB) & _MASK
        return self._state >> (48 - bits)

    def next_double(self) -> float:
        """A double in [0, 1)."""
        return ((self._next(26) << 27) + self._next(27)) / (1 << 53)

    def next_int(self, bound: int) -> int:
        """An integer in [0, bound), for a bound of 1 to 2^31 - 1."""
        if bound & (bound - 1) == 0:
            return (bound * self._next(31)) >> 31
        while True:
            bits = self._next(31)
            value = bits % bound
            if bits - value + (bound - 1) < 1 << 31:
                return value
