"""Write test images and labels as a data file for `tcja-deploy export --data`.

python examples/fashion_mnist/subset.py --count 1000 examples/fashion_mnist/test_1000.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from idx import DEBIAN, load


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=10_000, help="how many, from the first on (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=DEBIAN, help="folder of the IDX files (default: %(default)s)")
    args = parser.parse_args()
    images, labels = load(args.data, "t10k")
    np.savez_compressed(args.out, images=images[: args.count, None], labels=labels[: args.count].astype(np.int64))
    print(f"{args.out}: {min(args.count, len(labels))} images")


if __name__ == "__main__":
    main()
