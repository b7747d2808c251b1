#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine without a disk powers on and boots Linux over the network: pxe_test.py ENGINE MODEL LOADER. SeaBIOS runs the card's
option ROM (iPXE, with its own drivers), libslirp's DHCP names the loader and its TFTP server has the files."""
import pathlib
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))

from machine import GUEST, PATIENCE, VMM, Checks, engine_or_skip, skip  # noqa: E402

import tempfile  # noqa: E402

WORDS = "console=ttyS0 quiet xuni=report"
PXELINUX = [pathlib.Path("/usr/lib/PXELINUX/pxelinux.0"), pathlib.Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")]
GRUB = pathlib.Path("/usr/lib/grub/i386-pc")


def ipxe(root):
    (root / "boot.ipxe").write_text(f"#!ipxe\nkernel vmlinuz {WORDS} initrd=initrd.img\ninitrd initrd.img\nboot\n")
    return "boot.ipxe"


def pxelinux(root):
    for file in PXELINUX:
        if not file.exists():
            skip(f"no {file} (packages pxelinux and syslinux-common)")
        (root / file.name).write_bytes(file.read_bytes())
    (root / "pxelinux.cfg").mkdir()
    (root / "pxelinux.cfg/default").write_text(
        f"serial 0 115200\ndefault linux\nprompt 0\nlabel linux\nkernel vmlinuz\ninitrd initrd.img\nappend {WORDS}\n")
    return "pxelinux.0"


def grub(root):
    if not GRUB.exists():
        skip("no GRUB for PCs (package grub-pc-bin)")
    early = root / "early.cfg"
    early.write_text("set root=(pxe)\nset prefix=(pxe)\nserial --unit=0\nterminal_output serial\n"
                     f"linux /vmlinuz {WORDS}\ninitrd /initrd.img\nboot\n")
    subprocess.run(["grub-mkimage", "-O", "i386-pc-pxe", "-o", str(root / "grub.0"), "-p", "(pxe)", "-c", str(early),
                    "pxe", "tftp", "net", "linux", "serial", "boot", "normal"], check=True)
    return "grub.0"


def main(engine, model, loader):
    engine_or_skip(engine)
    guest = GUEST / "amd64"
    if not (guest / "vmlinuz").exists():
        skip("no guest with drivers; make it with guests/make-guest .cache/guest/amd64 amd64")
    if not pathlib.Path("/usr/lib/ipxe/qemu").exists():
        skip("no option ROMs (package ipxe-qemu)")
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="xuni-pxe-") as directory:
        root = pathlib.Path(directory)
        for name in ["vmlinuz", "initrd.img"]:
            (root / name).write_bytes((guest / name).read_bytes())
        bootfile = {"ipxe": ipxe, "pxelinux": pxelinux, "grub": grub}[loader](root)
        process = subprocess.Popen(
            [str(VMM), "-accel", engine, "-m", "512", "-nographic", "-vga", "none", "-no-reboot", "-boot", "n", "-netdev",
             f"user,id=net,tftp={root},bootfile={bootfile}", "-device", f"{model},netdev=net,mac=52:54:00:c0:ff:ee"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(120 * PATIENCE, process.kill)
        timer.start()
        text = process.stdout.read().decode(errors="replace")
        status = process.wait()
        timer.cancel()
    checks.holds("net0: 52:54:00:c0:ff:ee using" in text, "the ROM's driver reads the card's address")
    checks.holds("net0: 10.0.2.15/255.255.255.0 gw 10.0.2.2" in text, "DHCP by the ROM")
    checks.holds(f"Filename: {bootfile}" in text, "the loader's name comes by DHCP")
    checks.holds("kernel:  Linux" in text and "network: eth0 10.0.2.15/24" in text, "Linux runs and finds the card")
    checks.holds(status == 0 and "report complete" in text, f"to the power-off (exit status {status})")
    if checks.failed:
        print(text[-4000:])
    checks.end()


if __name__ == "__main__":
    main(*sys.argv[1:4])
