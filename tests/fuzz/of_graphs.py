"""The parser of NIR files."""

from __future__ import annotations

from tcja_exporters.nir_graphs.graph import load

from .parser import Parser, Room


def _seeds(room: Room) -> list[bytes]:
    from ..exporters.nir_graphs import graphs

    return [graphs.written(graphs.small(), room.folder).read_bytes()]


def _read(room: Room, content: bytes) -> None:
    load(room.file("a.nir", content))


PARSERS = (Parser("nir", _seeds, _read, packages=("h5py", "nir"), native=True),)
