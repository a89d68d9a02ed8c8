"""Groups made 64-bit hashes, most of them random, some of them near copies of others.

python -m benchmarks.peers.million_hashes NUM_HASHES MAX_BITS
Prints {"hashes", "planted", "found"}: how many near copies there are, and how many came into the group of
what they were copied from.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from framemill.cluster.corpus.near_hashes import group_hashes

COPIES = 0.1  # share of the hashes that are near copies
FLIPPED = 6  # bits in which a copy differs


def main() -> None:
    num_hashes, max_bits = int(sys.argv[1]), int(sys.argv[2])
    generator = np.random.default_rng(0)
    num_copies = int(COPIES * num_hashes)
    first = generator.integers(0, 1 << 63, num_hashes - num_copies, np.uint64) * np.uint64(2)
    bits = generator.random((num_copies, 64)).argsort(axis=1)[:, :FLIPPED].astype(np.uint64)
    flips = np.bitwise_or.reduce(np.uint64(1) << bits, axis=1)
    hashes = np.concatenate([first, first[:num_copies] ^ flips])
    different, which = np.unique(hashes, return_inverse=True)
    group = group_hashes(different, max_bits)[which]
    found = int((group[:num_copies] == group[len(first) :]).sum())
    json.dump({"hashes": len(different), "planted": num_copies, "found": found}, sys.stdout)


if __name__ == "__main__":
    main()
