#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux' own drivers of the cards: each finds its card and its monitor, sets a mode, and the console is drawn in it.
drm_test.py ENGINE CARD."""
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from screen import VMM, Machine, skip  # noqa: E402

GUEST = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "guest" / "amd64"
# What -device says, the driver's frame buffer, the size of its console.
CARDS = {"std": ("VGA,xres=1152,yres=864", "bochs-drmdrmfb", (1152, 864)), "cirrus": ("cirrus-vga", "cirrusdrmfb", (1024, 768))}


def main():
    engine, (device, driver, size) = sys.argv[1], CARDS[sys.argv[2]]
    if not (GUEST / "initrd.img").exists():
        skip("no guest with all drivers; make it with guests/make-guest .cache/guest/amd64 amd64")
    if engine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        skip("no /dev/kvm")
    log = pathlib.Path(f"/tmp/xuni-drm-{os.getpid()}.log")
    try:
        with Machine([VMM, "-accel", engine, "-m", "256", "-display", "none", "-nic", "none", "-device", device, "-serial",
                      f"file:{log}", "-kernel", GUEST / "vmlinuz", "-initrd", GUEST / "initrd.img", "-append",
                      "console=ttyS0 console=tty0", "-qmp", "stdio"]) as machine:
            deadline = time.monotonic() + 120
            while driver not in log.read_text(errors="replace") and time.monotonic() < deadline:
                time.sleep(0.2)
            if driver not in log.read_text(errors="replace"):
                if "modprobe: module" in log.read_text(errors="replace"):
                    skip("the guest's kernel has no driver for the card")
                print(f"FAILED: no {driver}:", *log.read_text(errors="replace").split("\n")[-20:], sep="\n")
                return 1
            while time.monotonic() < deadline:
                width, height, pixels = machine.pixels()
                ink = len(pixels) - pixels.count(0)
                if (width, height) == size and ink > 3000:
                    break
                time.sleep(0.2)
            good = (width, height) == size and ink > 3000
            # Nothing changes: a second picture is the same, apart from the cursor.
            machine.hmp("stop")
            good &= machine.pixels() == machine.pixels()
            print("ok" if good else f"FAILED: {width}x{height} with {ink} bytes of ink")
            return 0 if good else 1
    finally:
        log.unlink(missing_ok=True)


sys.exit(main())
