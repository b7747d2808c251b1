#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Logs of VHDX images that have to be replayed: planted by hand into a good image whose block allocation table is spoilt. Both
programs must refuse to open it read-only and bring it back with check -r all. Where a sequence has several entries that are all
needed, only xuni-img is asked: qemu-img takes its last one alone."""
import hashlib
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

from images import BAT, LOG, MIB, Vhdx, crc32c, made

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = os.environ.get("XUNI_IMG", str(ROOT / "build/xuni-img"))
THEIRS = "qemu-img"
GUID = b"G" * 16


def entry(sequence, tail, pages=(), zeroes=(), guid=GUID):
    """pages: (place, 4096 bytes); zeroes: (place, length)."""
    head = 4096 * ((64 + 32 * (len(pages) + len(zeroes)) + 4095) // 4096)
    data = bytearray(head + 4096 * len(pages))
    struct.pack_into("<4sIIIQII", data, 0, b"loge", 0, len(data), tail, sequence, len(pages) + len(zeroes), 0)
    data[32:48] = guid
    struct.pack_into("<QQ", data, 48, 8 * MIB, 8 * MIB)
    at = 64
    for place, length in zeroes:
        struct.pack_into("<4sIQQQ", data, at, b"zero", 0, length, place, sequence)
        at += 32
    for i, (place, page) in enumerate(pages):
        struct.pack_into("<4s4s8sQQ", data, at, b"desc", page[-4:], page[:8], place, sequence)
        at += 32
        struct.pack_into("<4sI4084sI", data, head + 4096 * i, b"data", sequence >> 32, page[8:4092], sequence & 0xffffffff)
    struct.pack_into("<I", data, 4, crc32c(data))
    return bytes(data)


def plant(image, *entries):
    """(place in the log, bytes); what reaches behind the log's end goes on at its start."""
    for place, data in entries:
        for i in range(0, len(data), 4096):
            image.put(LOG + (place + i) % MIB, data[i:i + 4096])
    for place in (65536, 131072):
        image.put(place + 48, GUID)
    image.put(BAT, b"\xff" * 16)
    return image.right()


def shapes(good):
    bat, junk, empty = bytes(good.content[BAT:BAT + 4096]), b"\x02" + bytes(4095), bytes(4096)
    last = MIB - 4096
    yield "one", True, [(0, entry(1, 0, [(BAT, bat)]))]
    yield "in the middle", True, [(65536, entry(7, 65536, [(BAT, bat)]))]
    yield "zeroes too", True, [(0, entry(1, 0, [(BAT, bat)], [(BAT + 4096, 8192)]))]
    yield "around the end", True, [(last, entry(9, last, [(BAT, bat)]))]
    yield "others before", True, [(0, entry(1, 0, [(BAT, junk)])), (8192, entry(2, 8192, [(BAT, bat)]))]
    yield "an older one behind", True, [(0, entry(5, 0, [(BAT, bat)])), (65536, entry(2, 65536, [(BAT, junk)]))]
    yield "one of another log", True, [(0, entry(5, 0, [(BAT, bat)])), (65536, entry(8, 65536, [(BAT, junk)], guid=b"X" * 16))]
    torn = bytearray(entry(6, 8192, [(BAT, junk)]))
    torn[5000] ^= 1
    yield "a torn one behind", True, [(0, entry(5, 0, [(BAT, bat)])), (8192, bytes(torn))]
    yield "two that belong together", False, [(0, entry(3, 0, [(BAT, bat)])), (8192, entry(4, 0, [(BAT + 4096, empty)]))]
    yield "two around the end", False, [(last - 4096, entry(3, last - 4096, [(BAT, bat)])), (0, entry(4, last - 4096, [(BAT + 4096, empty)]))]
    yield "only from the tail on", False, [(0, entry(3, 0, [(BAT, junk)])), (8192, entry(4, 8192, [(BAT, bat)])),
                                           (16384, entry(5, 8192, [(BAT + 4096, empty)]))]
    many = [(BAT + 4096 * i, empty) for i in range(1, 200)]
    yield "many pages", False, [(0, entry(3, 0, [(BAT, bat), *many]))]


def run(program, *args):
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True)
    return done.returncode, re.sub(r"^(xuni|qemu)-img", "IMG", done.stdout + done.stderr, flags=re.M)


def content(path, folder):
    subprocess.run([THEIRS, "convert", "-f", "vhdx", "-O", "raw", str(path), str(folder / "raw")], check=True)
    return hashlib.sha256((folder / "raw").read_bytes()).hexdigest()


def main(folder):
    failed = 0
    path = folder / "disk.vhdx"
    path.write_bytes(made("vhdx", "5M", (7, 0, "64k"), (8, "3M", "1M"), options=("-o", "block_size=1M")))
    Vhdx.good = path.read_bytes()
    wanted = content(path, folder)
    for name, both, entries in shapes(Vhdx()):
        image = plant(Vhdx(), *entries).content
        answers = []
        for program in (OURS, THEIRS) if both else (OURS,):
            path.write_bytes(image)
            answers.append([run(program, "info", path), run(program, "check", "-r", "all", path), run(program, "check", path),
                            content(path, folder)])
        if answers[0][1][0] or answers[0][3] != wanted or answers[0] != answers[-1] or "opened read-only" not in answers[0][0][1]:
            failed += 1
            print(f"FAILED  {name}: wanted {wanted}")
            for answer in answers:
                print(f"  {answer}")
    print(f"{failed} failed")
    return failed


if not shutil.which(THEIRS) or not shutil.which("qemu-io"):
    print("skipped: qemu-img and qemu-io are not here (package qemu-utils)")
    sys.exit(77)
with tempfile.TemporaryDirectory(prefix="xuni-log-") as directory:
    sys.exit(1 if main(pathlib.Path(directory)) else 0)
