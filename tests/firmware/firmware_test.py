#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that power on like a PC, with the distribution's firmware: firmware_test.py ENGINE CASE."""
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "boot"))
from machine import PATIENCE, VMM, Checks, skip  # noqa: E402


def sector(work, name="a disk"):
    """An image that boots tests/firmware/sector.s."""
    image = work / "sector.img"
    subprocess.run(["as", "--32", "-o", work / "sector.o", HERE / "sector.s"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", image, work / "sector.o"], check=True)
    data = bytearray(image.read_bytes())
    data[0x180:0x180 + len(name) + 1] = name.encode() + b"\0"
    image.write_bytes(data + bytes((1 << 20) - len(data)))
    return image


def run(work, engine, *arguments, timeout=60):
    """Returns (exit status, what came over COM1, SeaBIOS' log)."""
    log = work / "firmware.log"
    command = [VMM, "-accel", engine, "-m", "128", "-nodefaults", "-display", "none", "-serial", "stdio",
               "-chardev", f"file,id=log,path={log}", "-device", "isa-debugcon,iobase=0x402,chardev=log",
               "-device", "isa-debug-exit", *arguments]
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    timer = threading.Timer(timeout * PATIENCE, process.kill)
    timer.start()
    text = process.stdout.read().decode(errors="replace")
    status = process.wait()
    timer.cancel()
    return status, text, log.read_text(errors="replace") if log.exists() else ""


def seabios(engine, work, checks):
    """Power-on, a disk's boot sector, a reset by port 0xcf9, and all of it again."""
    status, text, log = run(work, engine, "-drive", f"file={sector(work)},format=raw,if=virtio")
    checks.holds(text.count("booted from a disk") == 2, "the boot sector runs after power-on and after a reset")
    checks.holds(status == 33, f"isa-debug-exit's status (was {status})")
    checks.holds(log.count("SeaBIOS (version") >= 2, "the firmware's log begins twice")
    for line in ["Running on QEMU (i440fx)", "Found QEMU fw_cfg", "Found 1 cpu(s)", "found virtio-blk at",
                 "Booting from 0000:7c00"]:
        checks.holds(log.count(line) == 2, f"'{line}' in both logs")
    checks.holds("SMM" not in log, "no system management mode is set up")
    if checks.failed:
        print(text[-2000:])
        print(log[-4000:])


CASES = {f.__name__: f for f in [seabios]}


def main():
    engine, case = sys.argv[1:3]
    checks = Checks()
    if engine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        skip("/dev/kvm is not there or not accessible")
    if not pathlib.Path("/usr/share/seabios/bios-256k.bin").exists():
        skip("Debian's package seabios is not installed")
    with tempfile.TemporaryDirectory(prefix="xuni-test-") as directory:
        CASES[case](engine, pathlib.Path(directory), checks)
    checks.end()


main()
