"""Small files made wrong where it matters: in their structure, not only in their bytes.

Each function takes what is right and a generator of random numbers, and gives something that is mostly
right still: the rest of the file leads a reader to the place that is wrong.
"""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from xml.etree import ElementTree

#: Where lengths, counts and offsets overflow, or are just off.
NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 63, 64, 127, 128, 255, 256, 257, 1000, 4096),
    *(0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
)
#: Texts that parsers, file systems, terminals and pages take for more than text.
TEXTS = (
    *("", " ", "0", "-1", "1e999", "nan", "inf", "-inf", "1e-400", "0x10", "1,5", "9" * 400, "٣"),
    *(
        "../../../etc/passwd",
        "/etc/passwd",
        "/dev/stdin",
        "C:\\x.tif",
        "a\x00b",
        "\x1b[2J\x1b[31mred",
    ),
    *("<script>alert(1)</script>", "';--", "%s%n%d", "{0.__class__}", "${HOME}", "$(touch x)"),
    *("\u202ereversed", "e\u0301\ud7ff", "x" * 5000, "2023-13-45T99:99:99Z", "\n\n", "EPSG:0"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, -1e308, 1e-320, 0.5),
    *(float("nan"), float("inf"), [], {}, [[]], {"": None}, [None] * 3, *TEXTS),
)


def times(rng: Random) -> range:
    """How many things are made wrong: mostly one."""
    return range(rng.choice((1, 1, 1, 2, 3)))


def bytes_wrong(data: bytes, rng: Random) -> bytes:
    """Cut off, flipped, doubled or overwritten bytes, anywhere."""
    if not data:
        return data
    out, at = bytearray(data), rng.randrange(len(data))
    kind = rng.randrange(5)
    if kind == 0:
        return bytes(out[:at])
    if kind == 1:
        for _ in range(rng.randint(1, 8)):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        out[at:at] = out[at : at + rng.randint(1, 64)]
    elif kind == 3:
        del out[at : at + rng.randint(1, 64)]
    else:
        out[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS))
    return bytes(out)


def json_wrong(value: Any, rng: Random) -> Any:
    """Another JSON value: parts replaced, left out, doubled, renamed or nested too deep."""
    whole = copy.deepcopy(value)
    for _ in times(rng):
        places = list(_places(whole))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind <= 3:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 4:
            del holder[key]
        elif kind == 5 and isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = holder.pop(key)
        elif kind == 5:
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 6:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other.get(place) if isinstance(other, dict) else None)
        else:
            deep: Any = holder[key]
            for _ in range(rng.choice((3, 50))):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            holder[key] = deep
    return whole


def json_text_wrong(value: Any, rng: Random) -> bytes:
    """The bytes of a JSON document that is wrong in what it says, or in how it is written."""
    kind = rng.randrange(12)
    if kind > 2:
        return json.dumps(json_wrong(value, rng)).encode()
    text = json.dumps(value).encode()
    if kind == 2:
        return bytes_wrong(text, rng)
    return rng.choice(
        (
            b"",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"\xef\xbb\xbf" + text,
            text.decode().encode("utf-16"),
            text.replace(b"e", b"\xff"),
            text * 2,
            b"9" * 6000,
            b'"\\ud800"',
        )
    )


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each (dict or list, key) in a JSON value."""
    items = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def xml_wrong(text: str, rng: Random) -> bytes:
    """An XML document with elements, attributes or texts that are not as they should be."""
    kind = rng.randrange(12)
    if kind == 0:
        return bytes_wrong(text.encode(), rng)
    if kind == 1:
        return _xml_written_wrong(text, rng)
    root = ElementTree.fromstring(text)
    for _ in times(rng):
        parents = {child: parent for parent in root.iter() for child in parent}
        element = rng.choice(list(root.iter()))
        parent = parents.get(element)
        kind = rng.randrange(7)
        if kind == 0 and parent is not None:
            parent.remove(element)
        elif kind == 1 and parent is not None:
            parent.append(copy.deepcopy(element))
        elif kind == 2:
            element.tag = rng.choice(list(root.iter())).tag
        elif kind == 3 and element.attrib:
            name = rng.choice(list(element.attrib))
            element.set(name, _xml_text(rng))
        elif kind == 4:
            inner = element
            for _ in range(rng.choice((3, 200))):
                inner = ElementTree.SubElement(inner, str(element.tag))
        else:
            element.text = _xml_text(rng)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _xml_text(rng: Random) -> str:
    number = str(rng.choice((*NUMBERS, -1, 1e308, 1e-308)))
    text = rng.choice((number, number, *TEXTS))
    return "".join(c for c in text if c in "\n\t" or c >= " ")  # others no XML can hold


def _xml_written_wrong(text: str, rng: Random) -> bytes:
    body = text[text.index("?>") + 2 :] if text.startswith("<?xml") else text
    levels = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "ha"}">' for i in range(10))
    return rng.choice(
        (
            b"",
            b"<a>" * 50_000,
            f"<!DOCTYPE x [{levels}]>{body}".replace("</", "&a9;</", 1).encode(),
            f'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>{body}'.encode(),
            f'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">{body}'.encode(),
            f'<?xml version="1.0" encoding="UTF-16"?>{body}'.encode(),
            f'<?xml version="1.0" encoding="klingon"?>{body}'.encode(),
            body.encode("utf-16"),
            body.encode("utf-8")[:-1] + b"\xff\xfe",
            (body * 2).encode(),
        )
    )


@dataclass(frozen=True)
class _Entry:
    """One entry of a TIFF directory: where it stands, and where its values do."""

    at: int
    tag: int
    kind: int
    count: int
    values_at: int
    values_bytes: int


_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
#: Width, height, bits, compression, photometric, strips, samples, rows, planar, predictor, colours, tiles,
#: subdirectories, extra samples, format, georeference, GDAL's own.
_TAGS = (
    *(
        256,
        257,
        258,
        259,
        262,
        273,
        277,
        278,
        279,
        284,
        317,
        320,
        322,
        323,
        324,
        325,
        330,
        338,
        339,
    ),
    *(33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113, 50844, 65000),
)


def tiff_wrong(data: bytes, rng: Random) -> bytes:
    """A TIFF whose directory, or what it points to, is not as it should be."""
    if rng.randrange(10) == 0:
        return bytes_wrong(data, rng)
    out = bytearray(data)
    for _ in times(rng):
        order, entries, links = _directories(bytes(out))
        if not entries:
            return bytes_wrong(bytes(out), rng)
        entry = rng.choice(entries)
        kind = rng.randrange(8)
        if kind == 0:
            struct.pack_into(f"{order}H", out, entry.at, rng.choice(_TAGS))
        elif kind == 1:
            struct.pack_into(f"{order}H", out, entry.at + 2, rng.randrange(20))
        elif kind == 2:
            struct.pack_into(f"{order}I", out, entry.at + 4, rng.choice(NUMBERS))
        elif kind == 3 and links:
            at = rng.choice(links)
            struct.pack_into(f"{order}I", out, at, rng.choice((*NUMBERS, entry.at, 8)))
        elif kind == 4 and entry.values_bytes > 8:
            start = entry.values_at
            part = bytes_wrong(bytes(out[start : start + entry.values_bytes]), rng)
            out[start : start + entry.values_bytes] = part.ljust(entry.values_bytes, b" ")[
                : entry.values_bytes
            ]
        else:
            _value_wrong(out, order, entry, rng)
    return bytes(out)


def _value_wrong(out: bytearray, order: str, entry: _Entry, rng: Random) -> None:
    """One value of an entry is another."""
    size = _SIZES.get(entry.kind, 4)
    index = rng.randrange(max(1, entry.values_bytes // size))
    at = entry.values_at + index * size
    form, most = {1: ("B", 2**8), 2: ("H", 2**16), 4: ("I", 2**32), 8: ("Q", 2**64)}[size]
    value = rng.choice(NUMBERS) % most
    if entry.kind in (11, 12):
        form = {11: "f", 12: "d"}[entry.kind]
        value = rng.choice((0.0, float("nan"), float("inf"), -1.0, 1e30, -1e-30))
    if at + size <= len(out):
        struct.pack_into(f"{order}{form}", out, at, value)


def _directories(data: bytes) -> tuple[str, list[_Entry], list[int]]:
    """Byte order, entries of all directories of a classic TIFF, and where the links between them stand."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    if not order or len(data) < 8:
        return "<", [], []
    entries, links, seen = [], [4], set()
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    while 8 <= at < len(data) - 6 and at not in seen:
        seen.add(at)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        end = at + 2 + 12 * count
        if end + 4 > len(data):
            break
        for place in range(at + 2, end, 12):
            tag, kind, number, value = struct.unpack_from(f"{order}HHII", data, place)
            length = _SIZES.get(kind, 4) * number
            where = place + 8 if length <= 4 else value
            entries.append(_Entry(place, tag, kind, number, where, min(length, 1 << 16)))
        links.append(end)
        (at,) = struct.unpack_from(f"{order}I", data, end)
    return order, entries, links


def jp2_wrong(data: bytes, rng: Random) -> bytes:
    """A JPEG 2000 file whose boxes, or markers of the code stream, are not as they should be."""
    if rng.randrange(8) == 0:
        return bytes_wrong(data, rng)
    out = bytearray(data)
    boxes = list(_boxes(data, 0, len(data)))
    stream = data.find(b"\xff\x4f\xff\x51")
    at, end, start = rng.choice(boxes)
    kind = rng.randrange(6)
    if kind == 0:
        struct.pack_into(">I", out, at, rng.choice(NUMBERS))
    elif kind == 1:
        del out[at:end]
    elif kind == 2:
        out[at:at] = out[at:end]
    elif kind == 3 and end - start >= 4:
        struct.pack_into(">I", out, rng.randrange(start, end - 3), rng.choice(NUMBERS))
    else:
        for _ in times(rng):  # sizes, tiles, components, levels, quantisation
            place = stream + 2 + rng.randrange(0, 110)
            form, most = rng.choice(((">B", 2**8), (">H", 2**16), (">I", 2**32)))
            if place + 4 <= len(out):
                struct.pack_into(form, out, place, rng.choice(NUMBERS) % most)
    return bytes(out)


def _boxes(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Beginning, end and content of the boxes of a JP2, those in its header too."""
    while at + 8 <= stop:
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + length if length >= 8 else stop
        yield at, min(end, stop), at + 8
        if name == b"jp2h":
            yield from _boxes(data, at + 8, min(end, stop))
        at = end


def zip_wrong(members: dict[str, bytes], rng: Random) -> bytes:
    """An archive with names that lead out of it, lengths that are not true, or bytes that are damaged."""
    content = dict(members)
    name = rng.choice(list(content))
    kind = rng.randrange(5)
    if kind == 0:
        base = name.rsplit("/", 1)[-1]
        prefix = rng.choice(("../../", "/", "..\\..\\", "C:\\", "a/../../", "./", "a\x00/", "//x/"))
        content[prefix + base] = content.pop(name)
    elif kind == 1:
        content[rng.choice(TEXTS) + ".tif"] = content[name]
    elif kind == 2:
        content[name] = bytes_wrong(content[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as file:
        for member, inner in content.items():
            file.writestr(member, inner)
    data = bytearray(buffer.getvalue())
    if kind >= 3:
        marks: list[tuple[bytes, tuple[int, ...]]] = [
            (b"PK\x03\x04", (4, 6, 8, 14, 18, 22, 26)),
            (b"PK\x01\x02", (8, 10, 16, 20, 24, 28, 42)),
            (b"PK\x05\x06", (8, 10, 12, 16)),
        ]
        mark, fields = rng.choice(marks)
        at = data.find(mark) + rng.choice(fields)
        struct.pack_into("<H", data, at, rng.choice(NUMBERS) & 0xFFFF)
    return bytes(data)


def words_wrong(options: dict[str, str], rng: Random) -> list[str]:
    """Options of a command with values that are no values."""
    pools: tuple[Callable[[], str], ...] = (
        lambda: rng.choice(TEXTS).replace("\x00", ""),
        lambda: str(rng.choice((*NUMBERS, -1, 0.5, 1e308))),
        lambda: bytes_wrong(value.encode(), rng).decode(errors="replace").replace("\x00", ""),
        lambda: f"{value},{value}",
    )
    words = []
    chosen = rng.sample(sorted(options), rng.randint(1, 3))
    for name in chosen:
        value = options[name]
        words += [name, rng.choice(pools)()]
    return words
