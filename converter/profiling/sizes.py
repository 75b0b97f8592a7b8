"""The distribution of sizes, in memory that doesn't grow with their number."""

from collections import Counter

from converter.profiling.result import SizeClass, Sizes

_BITS = 5
RESOLUTION = 2**-_BITS
"""Width of a class as a share of its lower bound: a class has 2 to the power of 5 parts of an octave."""


class SizeTally:
    """Sizes counted in classes whose width grows with the size; below 64 bytes each size is one."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0
        self._min = 0
        self._max = 0
        self._classes: Counter[int] = Counter()

    def add(self, size: int) -> None:
        self._min = size if self.count == 0 else min(self._min, size)
        self._max = max(self._max, size)
        self.count += 1
        self._sum += size
        self._classes[upper_bound(size)] += 1

    def result(self) -> Sizes | None:
        """None when there were no sizes."""
        if self.count == 0:
            return None
        octaves: Counter[int] = Counter()
        for bound, documents in self._classes.items():
            octaves[1 << (bound - 1).bit_length() if bound > 1 else 1] += documents
        least, most = min(octaves), max(octaves)
        bounds = [1 << bit for bit in range(least.bit_length() - 1, most.bit_length())]
        return Sizes(
            documents=self.count,
            min=self._min,
            mean=self._sum / self.count,
            p50=self._percentile(50),
            p95=self._percentile(95),
            max=self._max,
            resolution=RESOLUTION,
            classes=tuple(SizeClass(up_to=bound, documents=octaves[bound]) for bound in bounds),
        )

    def _percentile(self, percent: int) -> int:
        """The nearest rank: the least size that is not below ``percent`` of them."""
        rank = -(-self.count * percent // 100)
        for bound in sorted(self._classes):
            rank -= self._classes[bound]
            if rank <= 0:
                return min(bound, self._max)
        raise AssertionError("the classes count every size")


def upper_bound(size: int) -> int:
    """The largest size that is in the same class."""
    shift = max(0, (size - 1).bit_length() - _BITS - 1)
    return -(-size >> shift << shift) if size > 0 else 0
