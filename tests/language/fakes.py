"""A source of random numbers whose draws are known."""

from stepwell.language.scope import RandomSource


class Draws(RandomSource):
    """Gives 0.25, the lower bound, and numbered UUIDs."""

    def __init__(self) -> None:
        self.uuids = 0

    def random(self) -> float:
        return 0.25

    def randint(self, a: int, b: int) -> int:
        assert a <= b
        return a

    def uuid4(self) -> str:
        self.uuids += 1
        return f"00000000-0000-4000-8000-{self.uuids:012d}"
