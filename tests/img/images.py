# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that tests change byte by byte."""
import pathlib
import struct
import subprocess
import sys
import tempfile


class Image:
    """Bytes to be patched: little-endian and big-endian numbers, text, and the length of the file."""

    def __init__(self, content):
        self.content = bytearray(content)

    def le(self, offset, fmt, *values):
        return self.put(offset, struct.pack("<" + fmt, *values))

    def be(self, offset, fmt, *values):
        return self.put(offset, struct.pack(">" + fmt, *values))

    def put(self, offset, data):
        self.content[len(self.content):offset + len(data)] = bytes(max(0, offset + len(data) - len(self.content)))
        self.content[offset:offset + len(data)] = data
        return self

    def cut(self, length):
        del self.content[length:]
        return self


def made(kind, size, *writes, options=()):
    """A good image of qemu-img's, with data at the places given as (pattern, offset, length)."""
    with tempfile.NamedTemporaryFile(suffix="." + kind) as file:
        subprocess.run(["qemu-img", "create", "-q", "-f", kind, *options, file.name, size], check=True)
        words = [word for pattern, offset, length in writes for word in ("-c", f"write -P {pattern} {offset} {length}")]
        if words:
            subprocess.run(["qemu-io", "-f", kind, *words, file.name], check=True, stdout=subprocess.DEVNULL)
        return pathlib.Path(file.name).read_bytes()


# --- vhdx ---

MIB = 1 << 20
LOG, BAT, METADATA = MIB, 2 * MIB, 3 * MIB  # where qemu-img puts them
ITEMS = METADATA + 65536
FILE = 8 * MIB
CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


class Vhdx(Image):
    """head() and regions() patch both copies."""
    good = None

    def __init__(self):
        if Vhdx.good is None:
            Vhdx.good = made("vhdx", "5M", (7, 0, "64k"), options=("-o", "block_size=1M"))
        super().__init__(Vhdx.good)

    def head(self, offset, fmt, *values):
        return self.le(65536 + offset, fmt, *values).le(131072 + offset, fmt, *values)

    def regions(self, offset, fmt, *values):
        return self.le(196608 + offset, fmt, *values).le(262144 + offset, fmt, *values)

    def log(self, *descriptors, sequence=1, tail=0, flushed=None, last=None, length=None, count=None):
        """One entry at the log's start. descriptors: ("zero", place, bytes) or ("data", place, byte)."""
        data = [d for d in descriptors if d[0] == "data"]
        entry = Image(bytes(4096 * (1 + len(data)))).put(0, b"loge").put(32, b"G" * 16)
        entry.le(8, "IIQI", len(entry.content) if length is None else length, tail, sequence, len(descriptors) if count is None else count)
        entry.le(48, "QQ", len(self.content) if flushed is None else flushed, len(self.content) if last is None else last)
        for i, (kind, place, value) in enumerate(descriptors):
            if kind == "zero":
                entry.put(64 + i * 32, struct.pack("<4sIQQQ", b"zero", 0, value & (1 << 64) - 1, place, sequence))
            else:
                entry.put(64 + i * 32, struct.pack("<4sIQQQ", b"desc", value * 0x1010101, value * 0x101010101010101, place, sequence))
        for i, (_, _, value) in enumerate(data):
            entry.put(4096 * (1 + i), struct.pack("<4sI", b"data", sequence >> 32) + bytes([value]) * 4084 + struct.pack("<I", sequence & 0xffffffff))
        entry.le(4, "I", 0).le(4, "I", crc32c(entry.content))
        for place in (65536, 131072):
            self.put(place + 48, b"G" * 16)
        return self.put(LOG, entry.content)

    def right(self):
        for place, length in ((65536, 4096), (131072, 4096), (196608, 65536), (262144, 65536)):
            self.le(place + 4, "I", 0).le(place + 4, "I", crc32c(self.content[place:place + length]))
        return self


# --- seSparse, which no program here makes: tests/img/images.py sesparse FILE ---

def sesparse(capacity=16384, grains=((0, 3), (1, 2), (5, 3), (4096, 3), (5000, 1)), version=0x200000001, journal=0):
    """An extent of 8 MiB, of two tables; grains: number on the disk and kind (3 data, 2 zero, 1 unmapped)."""
    image = Image(bytes(1 << 20)).le(0, "10Q", 0xcafebabe, version, capacity, 8, 64, 0, 0, 0, 0, 0)
    image.le(80, "16Q", 1, 1, 0, 0, 0, 0, 2, 1, 8, 128, 0, 0, 0, 0, 136, 1000).le(512, "4Q", 0xcafecafe, 0, 0, journal)
    image.le(1024, "QQ", 1 << 60, 1 << 60 | 1)
    for place, (number, kind) in enumerate(grains):
        entry = kind << 60 | ((place & 0xfff) << 48 | place >> 12 if kind == 3 else 0)
        image.le(8 * 512 + number * 8, "Q", entry).put(136 * 512 + place * 4096, bytes([place + 65]) * 4096)
    return image


if __name__ == "__main__" and sys.argv[1] == "sesparse":
    pathlib.Path(sys.argv[2]).write_bytes(sesparse(**{key: int(value) for key, value in (word.split("=") for word in sys.argv[3:])}).content)
