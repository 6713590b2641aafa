"""Builds the source distribution and the wheel of a release: two builds are equal to the byte.

    python tools/release.py [--source .] [--out dist]

Of a clone, the last commit is built, and its date is that of all files; changes that are not committed are left out.
Of any other folder, such as an unpacked source distribution, all files are built, and the environment variable
SOURCE_DATE_EPOCH says the date, in seconds since 1970 (https://reproducible-builds.org/specs/source-date-epoch/). The
wheel is built from the source distribution. Neither holds the owner, the time or the umask of the machine.

The packages `build` and `setuptools` must be installed (constraints.txt): other versions of them write other bytes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

DATE = "SOURCE_DATE_EPOCH"


def main() -> int:
    """Build a release, and print the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path(), help="the folder of the project")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="the folder of the two files")
    args = parser.parse_args()
    try:
        for file in release(args.source.resolve(), args.out.resolve()):
            print(file)
    except (LookupError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def release(source: Path, out: Path) -> tuple[Path, Path]:
    """Build the source distribution and the wheel of a folder, and return them.

    Raises:
        LookupError: the folder is no clone, and the environment does not say its date.
        OSError: a file cannot be read or written.
        subprocess.CalledProcessError: git or `build` fails; it has said why.
    """
    os.umask(0o022)  # a wheel has the modes of its files, and some are written by the build
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree, made = Path(folder) / "tree", Path(folder) / "made"
        seconds = _tree(source, tree)
        sdist = _built("sdist", tree, made, seconds)
        plain = out / sdist.name
        plain.write_bytes(normalised(sdist.read_bytes(), seconds))
        with tarfile.open(plain) as archive:
            archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
        wheel = _built("wheel", Path(folder) / sdist.name.removesuffix(".tar.gz"), made, seconds)
        return plain, Path(shutil.copy(wheel, out / wheel.name))


def _tree(source: Path, tree: Path) -> int:
    """Write the files of a release into a folder, and return their date in seconds since 1970."""
    if not (source / ".git").exists():
        if DATE not in os.environ:
            raise LookupError(f"{source} is no clone, so nothing says its date; set {DATE}")
        shutil.copytree(source, tree)
        return int(os.environ[DATE])
    git = ["git", "-C", str(source)]
    committed = subprocess.run([*git, "archive", "HEAD"], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(committed)) as archive:
        archive.extractall(tree, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
    said = subprocess.run([*git, "log", "-1", "--format=%ct"], check=True, capture_output=True, text=True).stdout
    return int(os.environ.get(DATE, said))


def _built(kind: str, tree: Path, out: Path, seconds: int) -> Path:
    """Build one kind of file from a folder, and return it."""
    command = [sys.executable, "-m", "build", "--quiet", "--no-isolation", f"--{kind}", "--outdir", str(out), str(tree)]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, DATE: str(seconds)})
    (file,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file


def normalised(content: bytes, seconds: int) -> bytes:
    """Return a source distribution with its files in the order of their names, of nobody, and of one date.

    Args:
        content: the archive, tar.gz.
        seconds: the date, in seconds since 1970.
    """
    plain, packed = io.BytesIO(), io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as given,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in sorted(given.getmembers(), key=lambda each: each.name):
            member.mtime, member.pax_headers = seconds, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            archive.addfile(member, given.extractfile(member) if member.isfile() else None)
    with gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=seconds) as file:
        file.write(plain.getvalue())
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main())
