#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every mode that the video BIOS knows, drawn by the same boot sector here and under qemu: the pictures are the same, pixel
by pixel, and so is what the monitor sees of the window at 0xa0000. modes_test.py ENGINE [CARD]."""
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from screen import VMM, Machine, read_ppm, skip  # noqa: E402

TEXT, BYTES, PLANES, CGA, BANKS, REPEATED = 1, 0, 2, 3, 4, 5
SEQUENCER, CRTC, GRAPHICS = 0x3c4, 0x3d4, 0x3ce

# name, mode, pattern, registers written afterwards
CASES = [
    ("text 40x25", 0x01, TEXT, []),
    ("text 80x25", 0x03, TEXT, []),
    ("text 80x25, mono", 0x07, None, []),
    ("320x200, 4 colours", 0x04, CGA, []),
    ("640x200, 2 colours", 0x06, CGA, []),
    ("320x200, 16 colours", 0x0d, PLANES, []),
    ("640x200, 16 colours", 0x0e, PLANES, []),
    ("640x350, 16 colours", 0x10, PLANES, []),
    ("640x480, 2 colours", 0x11, PLANES, []),
    ("640x480, 16 colours", 0x12, PLANES, []),
    ("320x200, 256 colours", 0x13, BYTES, []),
    ("640x480, another start", 0x12, PLANES, [(CRTC, 0x000c | 0x12 << 8)]),
    ("320x200, 256 colours, unchained", 0x13, BYTES, [(CRTC, 0x14), (CRTC, 0xe317), (CRTC, 0x070d)]),
    ("640x480, latches", 0x12, REPEATED, [(SEQUENCER, 0x0f02), (GRAPHICS, 0x0105)]),
    ("640x480, bits, exclusive or", 0x12, REPEATED, [(SEQUENCER, 0x0d02), (GRAPHICS, 0x3c08), (GRAPHICS, 0x1903)]),
    ("640x480, set and reset", 0x12, REPEATED, [(SEQUENCER, 0x0f02), (GRAPHICS, 0x0500), (GRAPHICS, 0x0601), (GRAPHICS, 0x0808)]),
    ("text, another start", 0x03, TEXT, [(CRTC, 0x400d)]),
    ("VBE 640x400x8", 0x100, BANKS, []),
    ("VBE 640x480x8", 0x101, BANKS, []),
    ("VBE 800x600x8", 0x103, BANKS, []),
    ("VBE 640x480x15", 0x110, BANKS, []),
    ("VBE 640x480x16", 0x111, BANKS, []),
    ("VBE 640x480x24", 0x112, BANKS, []),
    ("VBE 1024x768x16", 0x117, BANKS, []),
    ("VBE 640x480x32", 0x142, BANKS, []),
]


def blit(width, height, target, source, mode, rop=0x0d, ext=0, back=0x21, fore=0x43, key=0, skip=0, pitch=640, source_pitch=640):
    """Writes to the graphics controller that start a blit of the GD5446; width in bytes."""
    values = {0x00: back, 0x01: fore, 0x20: (width - 1) & 255, 0x21: (width - 1) >> 8, 0x22: (height - 1) & 255,
              0x23: (height - 1) >> 8, 0x24: pitch & 255, 0x25: pitch >> 8, 0x26: source_pitch & 255, 0x27: source_pitch >> 8,
              0x28: target & 255, 0x29: target >> 8 & 255, 0x2a: target >> 16, 0x2c: source & 255, 0x2d: source >> 8 & 255,
              0x2e: source >> 16, 0x2f: skip, 0x30: mode, 0x32: rop, 0x33: ext, 0x34: key}
    return [(GRAPHICS, index | value << 8) for index, value in values.items() if value] + [(GRAPHICS, 0x0231)]


ROPS = [0x00, 0x05, 0x06, 0x09, 0x0b, 0x0d, 0x0e, 0x50, 0x59, 0x6d, 0x90, 0x95, 0xad, 0xd0, 0xd6, 0xda]
BACKWARDS, TRANSPARENT, PATTERN, EXPAND, INVERT, SOLID = 0x01, 0x08, 0x40, 0x80, 0x02, 0x04
BLITS = [(f"copy, operation {rop:#04x}", blit(200, 100, 640 * 50 + 7, 640 * 200 + 33, 0, rop)) for rop in ROPS] + [
    ("copy over itself, downwards", blit(300, 200, 640 * 309 + 419, 640 * 299 + 399, BACKWARDS, 0x0d)),
    ("copy upwards over itself", blit(300, 200, 640 * 90 + 80, 640 * 100 + 100, 0, 0x0d)),
    ("transparent copy", blit(200, 100, 640 * 50, 640 * 200, TRANSPARENT, 0x0d, key=0x55)),
    ("pattern", blit(203, 99, 640 * 30 + 3, 640 * 300 + 64, PATTERN, 0x59)),
    ("pattern from its third line", blit(203, 99, 640 * 30 + 3, 640 * 300 + 66, PATTERN, 0x0d)),
    ("bits to colours", blit(123, 77, 640 * 20 + 9, 640 * 310 + 5, EXPAND, 0x0d)),
    ("bits to colours, others stay", blit(123, 77, 640 * 20 + 9, 640 * 310 + 5, EXPAND | TRANSPARENT, 0x0d)),
    ("bits to colours, inverted, others stay", blit(123, 77, 640 * 20 + 9, 640 * 310 + 5, EXPAND | TRANSPARENT, 0x0d, INVERT)),
    ("bits to colours, left pixels left out", blit(123, 77, 640 * 20 + 9, 640 * 310 + 5, EXPAND, 0x0d, skip=5)),
    ("pattern of bits", blit(321, 200, 640 * 20 + 11, 640 * 310 + 8, EXPAND | PATTERN, 0x0d)),
    ("pattern of bits, others stay", blit(321, 200, 640 * 20 + 11, 640 * 310 + 11, EXPAND | PATTERN | TRANSPARENT, 0x6d)),
    ("filled", blit(321, 200, 640 * 20 + 11, 0, EXPAND | PATTERN, 0x0d, SOLID)),
    ("filled, exclusive or, 16 bits", blit(322, 200, 640 * 20 + 12, 0, EXPAND | PATTERN | 0x10, 0x59, SOLID)),
]
CIRRUS_LACKS = {0x100, 0x142}  # modes that its BIOS does not offer


def image(folder, mode, pattern, registers):
    path = folder / "modes.img"
    data = bytearray((folder / "modes.bin").read_bytes())
    struct.pack_into("<HH", data, 0x1a0, mode, TEXT if pattern is None else pattern)
    for i, (port, value) in enumerate(registers):
        struct.pack_into("<HH", data, 0x1a4 + 4 * i, port, value)
    path.write_bytes(bytes(data) + bytes((1 << 20) - len(data)))
    return path


def picture(program, engine, card, folder, disk):
    done, ppm = folder / "done", folder / "screen.ppm"
    done.unlink(missing_ok=True)
    ppm.unlink(missing_ok=True)
    with Machine([program, "-accel", engine, "-m", "32", "-nodefaults", "-vga", card, "-display", "none", "-drive",
                  f"file={disk},format=raw,if=ide", "-chardev", f"file,id=done,path={done}", "-device",
                  "isa-debugcon,iobase=0xe9,chardev=done", "-qmp", "stdio"]) as machine:
        deadline = time.monotonic() + 60
        while not (done.exists() and done.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        said = done.read_text() if done.exists() else ""
        machine.command("screendump", filename=str(ppm))
        memory = [machine.hmp(f"xp /40xh {at}").split() for at in ["0xa0100", "0xb8000"]]
    return said, read_ppm(ppm), memory


def main():
    engine, card = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "std"
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        skip("no qemu-system-x86_64 to compare with")
    if engine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        skip("no /dev/kvm")
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run(["as", "--32", "-o", folder / "modes.o", HERE / "modes.s"], check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", folder / "modes.bin",
                        folder / "modes.o"], check=True)
        wanted = sys.argv[3:]
        blits = [("blit: " + title, 0x101, BANKS, registers) for title, registers in BLITS] if card == "cirrus" else []
        for title, mode, pattern, registers in CASES + blits:
            if (wanted and title not in wanted) or (card == "cirrus" and mode in CIRRUS_LACKS):
                continue
            disk = image(folder, mode, pattern, registers)
            ours, theirs = picture(VMM, engine, card, folder, disk), picture(qemu, "tcg", card, folder, disk)
            good = ours == theirs and ours[0] == "D"
            failed += not good
            print(f"{'ok' if good else 'FAILED'}: {title}: {ours[0]} {theirs[0]} {ours[1][:2]} {theirs[1][:2]}", flush=True)
            if ours[2] != theirs[2]:
                print("   the monitor sees", *ours[2], "not", *theirs[2], sep="\n   ")
            if not good and ours[1][:2] == theirs[1][:2]:
                a, b = ours[1][2], theirs[1][2]
                wrong = [i // 3 for i in range(0, len(a), 3) if a[i:i + 3] != b[i:i + 3]]
                width = ours[1][0]
                print(f"   {len(wrong)} pixels differ; first at", [(i % width, i // width, a[3*i:3*i+3].hex(), b[3*i:3*i+3].hex()) for i in wrong[:4]])
    return 1 if failed else 0


sys.exit(main())
