#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel, booted without firmware, on the text screen: what it prints is read from the screen, what is typed with
sendkey appears. linux_test.py ENGINE."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from screen import VMM, Machine, skip  # noqa: E402

GUEST = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "guest"


def main():
    engine = sys.argv[1]
    if not (GUEST / "vmlinuz").exists():
        skip("no guest; run guests/make-guest .cache/guest")
    if engine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        skip("no /dev/kvm")
    good = True
    with Machine([VMM, "-accel", engine, "-m", "256", "-vga", "std", "-display", "none", "-nic", "none", "-serial", "null", "-kernel",
                  GUEST / "vmlinuz", "-initrd", GUEST / "initrd.img", "-append", "console=tty0", "-qmp", "stdio"]) as machine:
        for text in ["Run /init as init process", "xuni:/root#"]:
            if not machine.wait_text(text, 120):
                print(f"FAILED: '{text}' is not on the screen:", *machine.text(), sep="\n")
                return 1
        for key in ["e", "c", "h", "o", "spc", "shift-4", "minus", "shift-4", "ret"]:
            machine.hmp(f"sendkey {key}")
        for text in ["echo $-$", "-$"]:
            if not machine.wait_text(text, 60):
                good = False
                print(f"FAILED: '{text}' is not on the screen:", *machine.text(), sep="\n")
        # The picture holds as many glyphs as there are characters: text rows are not black.
        for _ in range(20): # a message of the kernel's may scroll in between
            before = machine.text()
            width, height, pixels = machine.pixels()
            lines = machine.text()
            if lines == before:
                break
        row = [i for i, line in enumerate(lines) if "xuni:/root#" in line][0]
        band = pixels[row * 16 * width * 3:(row + 1) * 16 * width * 3]
        if (width, height) != (720, 400) or band.count(b"\xa8\xa8\xa8") <= 50:
            good = False
            print(f"FAILED: picture of {width}x{height}, {band.count(bytes([0xa8] * 3))} bright pixels in row {row} of:", *lines, sep="\n")
    print("ok" if good else "FAILED")
    return 0 if good else 1


sys.exit(main())
