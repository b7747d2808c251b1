#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian from its disk, by firmware and GRUB, to the login prompt and off again: debian_test.py ENGINE DISK FIRMWARE."""
import pathlib
import subprocess
import sys
import tempfile

import disks
from system import Checks, System, need

OVMF = pathlib.Path("/usr/share/OVMF")
# The disk's place: (Linux' name, arguments).
PLACES = {
    "ide": ("sda", ["-hda", "{}"]),
    "ahci": ("sda", ["-drive", "if=none,id=d,file={},format=qcow2", "-device", "ahci,id=sata", "-device", "ide-hd,drive=d,bus=sata.0"]),
    "virtio": ("vda", ["-drive", "if=virtio,file={},format=qcow2"]),
    "scsi": ("sda", ["-drive", "if=none,id=d,file={},format=qcow2", "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d"]),
}


def bios(folder):
    need(("/usr/share/seabios/bios-256k.bin", "seabios"))
    return []


def uefi(folder):
    need((OVMF / "OVMF_CODE_4M.fd", "ovmf"))
    variables = folder / "vars.fd"
    variables.write_bytes((OVMF / "OVMF_VARS_4M.fd").read_bytes())
    return ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd",
            "-drive", f"if=pflash,format=raw,file={variables}"]


def main():
    engine, place, firmware = sys.argv[1:4]
    checks = Checks()
    need(("qemu-img", "qemu-utils"))
    with tempfile.TemporaryDirectory(prefix="xuni-debian-") as name:
        folder = pathlib.Path(name)
        arguments = {"bios": bios, "uefi": uefi}[firmware](folder)
        device, drive = PLACES[place]
        disks.debian(folder, "amd64", device)
        image = folder / "disk.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "disk.raw", "-F", "raw", image], check=True)
        with System(engine, *arguments, *[a.format(image) for a in drive], memory="512") as system:
            boot(checks, system, firmware, device)
            if checks.failed:
                print(system.screen())
                print(system.serial[-4000:])
    checks.end()


def boot(checks, system, firmware, device):
    entry = f"Debian on {device}"
    if firmware == "bios":
        checks.holds(system.shows(entry, 60), "SeaBIOS starts GRUB, which finds its menu in the disk's file system")
    else:
        # EFI's console is the screen, in a graphics mode, and the serial line.
        checks.holds(system.hears(entry, 90), "OVMF starts GRUB of the EFI system partition, which finds its menu")
    if checks.failed:
        return
    system.type("\n")
    checks.holds(system.hears("Debian GNU/Linux 12 xuni ttyS0", 200) and system.hears("login: "), "the login prompt is on the serial console")
    if checks.failed:
        return
    system.send("root\r")
    system.hears("# ")
    system.send("mount | grep ' on / '; ls -d /sys/firmware/efi; echo done-$((6*7))\r")
    checks.holds(system.hears("done-42"), "root logs in")
    checks.holds(f"/dev/{device}1 on / type ext4 (rw" in system.serial, "the root file system is the disk's first partition")
    checks.holds(("cannot access '/sys/firmware/efi'" in system.serial) == (firmware == "bios"), "the kernel knows what firmware started it")
    system.send("poweroff\r")
    checks.holds(system.ends(60), "poweroff ends the machine")


main()
