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
        good &= machine.wait_text("echo $-$", 60) and machine.wait_text("-$", 60)
        # The picture holds as many glyphs as there are characters: text rows are not black.
        width, height, pixels = machine.pixels()
        good &= (width, height) == (720, 400)
        row = [i for i, line in enumerate(machine.text()) if "xuni:/root#" in line][0]
        band = pixels[row * 16 * width * 3:(row + 1) * 16 * width * 3]
        good &= band.count(b"\xa8\xa8\xa8") > 50
    print("ok" if good else "FAILED")
    return 0 if good else 1


sys.exit(main())
