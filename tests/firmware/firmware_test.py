#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that power on like a PC, with the distribution's firmware: firmware_test.py ENGINE CASE."""
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "boot"))
sys.path.insert(0, str(HERE.parent / "display"))
from screen import Machine  # noqa: E402
from machine import GUEST, PATIENCE, VMM, Checks, kvm_is_software, skip  # noqa: E402


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


OVMF = pathlib.Path("/usr/share/OVMF")


def converse(work, engine, steps, *arguments, memory="256", timeout=120):
    """Answers on COM1: steps are (text to wait for, what to type then). Returns (exit status, text)."""
    command = [VMM, "-accel", engine, "-m", memory, "-nodefaults", "-display", "none", "-serial", "stdio", *arguments]
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(timeout * PATIENCE, process.kill)
    timer.start()
    text, seen = b"", 0
    for wanted, answer in steps:
        while wanted.encode() not in text[seen:]:
            chunk = process.stdout.read1(4096)
            if not chunk:
                break
            text += chunk
        else:
            seen = text.index(wanted.encode(), seen) + len(wanted)
            process.stdin.write(answer.encode())
            process.stdin.flush()
            continue
        break
    text += process.stdout.read()
    status = process.wait()
    timer.cancel()
    return status, text.decode(errors="replace")


def flash(variables):
    return ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd",
            "-drive", f"if=pflash,format=raw,file={variables}"]


def ovmf(engine, work, checks):
    """The EFI shell; a variable is there after a reset and in another machine; power-off by ACPI."""
    if not (OVMF / "OVMF_CODE_4M.fd").exists():
        skip("Debian's package ovmf is not installed")
    variables = work / "vars.fd"
    variables.write_bytes((OVMF / "OVMF_VARS_4M.fd").read_bytes())
    shell = [("any other key to continue", "\x1b"), ("Shell> ", "")]
    status, text = converse(work, engine, [*shell, ("", "set xunivar hello\r"), ("Shell> ", "reset\r"), *shell, ("", "set\r"),
                                           ("hello", ""), ("Shell> ", "smbiosview -t 1\r"), ("Shell> ", "reset -s\r")],
                            *flash(variables), "-smbios", "type=1,product=Firmament")
    checks.holds(text.count("UEFI Interactive Shell") == 2, "the EFI shell starts, also after a reset")
    checks.holds("hello" in text[text.rfind("UEFI Interactive Shell"):], "a variable outlives a reset")
    checks.holds("Firmament" in text, "SMBIOS tables of -smbios arrive")
    checks.holds(status == 0, f"the shell's reset -s powers off (exit status {status})")
    status, text = converse(work, engine, [*shell, ("", "set\r"), ("hello", ""), ("Shell> ", "reset -s\r")], *flash(variables))
    checks.holds(status == 0 and "hello" in text, "and the end of the machine")
    if checks.failed:
        print(text[-3000:])


def kernel(engine, work, checks):
    """-kernel, -initrd and -append, handed over to firmware: SeaBIOS' option ROM and OVMF start the kernel, after a reset too."""
    if not (GUEST / "vmlinuz").exists():
        skip("no guest; make it with guests/make-guest .cache/guest")
    if not pathlib.Path("/usr/share/qemu/linuxboot_dma.bin").exists():
        skip("Debian's package qemu-system-data is not installed")
    linux = ["-kernel", GUEST / "vmlinuz", "-initrd", GUEST / "initrd.img", "-append", "console=ttyS0 quiet xuni_word=handed"]
    variables = work / "vars.fd"
    places = {"SeaBIOS": ["-bios", "bios-256k.bin"]}
    if (OVMF / "OVMF_CODE_4M.fd").exists():
        variables.write_bytes((OVMF / "OVMF_VARS_4M.fd").read_bytes())
        places["OVMF"] = flash(variables)
    look = "cat /proc/cmdline; [ -d /sys/firmware/efi ] && echo by-$((40+2))-efi || echo by-$((40+2))-bios\r"
    for name, firmware in places.items():
        steps = [("Ctrl-a h helps", ""), ("# ", look), ("by-42", ""), ("# ", "reboot -f\r")] if name == "SeaBIOS" else []
        status, text = converse(work, engine, [*steps, ("Ctrl-a h helps", ""), ("# ", look), ("by-42", ""), ("# ", "poweroff -f\r")],
                                *firmware, *linux)
        checks.holds(text.count("by-42-bios" if name == "SeaBIOS" else "by-42-efi") == (2 if steps else 1), f"{name} starts the kernel")
        checks.holds("xuni_word=handed" in text, "its command line arrives")
        checks.holds(status == 0, f"poweroff ends the machine (exit status {status})")
        if checks.failed:
            print(text[-3000:])


def secureboot(engine, work, checks):
    """Debian's OVMF with secure boot needs SMM: that is said, with the name of the build that does not."""
    if not pathlib.Path("/usr/share/qemu/firmware/50-edk2-x86_64-secure.json").exists():
        skip("Debian's package ovmf is not installed, or has no descriptors")
    for name, warned in [("OVMF_CODE_4M.secboot.fd", True), ("OVMF_CODE_4M.fd", False)]:
        said = subprocess.run([VMM, "-accel", engine, "-m", "64", "-nodefaults", "-display", "none", "-monitor", "stdio", "-S", "-drive",
                               f"if=pflash,format=raw,readonly=on,file={OVMF}/{name}"], input="quit\n", capture_output=True, text=True)
        checks.holds(("needs system management mode" in said.stderr) == warned, f"{name}: {said.stderr.strip() or 'nothing to warn of'}")


def splash(engine, work, checks):
    """-boot splash=: SeaBIOS shows the picture by the VGA BIOS' VBE mode of its size, for the time given."""
    width, height = 640, 480
    rows = b"".join(bytes([y // 2 % 256, 0x40, 0xc0 if y < height // 2 else 0]) * width for y in range(height))
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + len(rows), 0, 0, 54, 40, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    (work / "splash.bmp").write_bytes(head + rows)
    with Machine([VMM, "-accel", engine, "-m", "64", "-nodefaults", "-display", "none", "-vga", "std", "-qmp", "stdio", "-boot",
                  f"menu=on,splash={work}/splash.bmp,splash-time=60000"]) as machine:
        # A BMP begins with its lowest row, and has blue first.
        wanted = b"".join(rows[y * width * 3:(y * width + 1) * 3][::-1] * width for y in reversed(range(height)))
        deadline = time.monotonic() + 60 * PATIENCE
        while (picture := machine.pixels()) != (width, height, wanted) and time.monotonic() < deadline:
            time.sleep(0.2)
        checks.holds(picture[:2] == (width, height), f"the screen has the picture's size (was {picture[0]}x{picture[1]})")
        checks.holds(picture[2] == wanted, "and is the picture")
    (work / "text").write_text("not a picture, but as long as one has to be")
    said = subprocess.run([VMM, "-accel", engine, "-display", "none", "-boot", f"splash={work}/text"], capture_output=True, text=True)
    checks.holds(said.returncode == 1 and "is not a JPEG or a BMP of 24 bits" in said.stderr, f"a text is refused: {said.stderr.strip()}")


def bootorder(engine, work, checks):
    """bootindex= decides, -boot order= where there is none; SeaBIOS logs what it was told."""
    if engine == "kvm" and kvm_is_software():
        skip("this host's KVM runs in software, where SeaBIOS does not come out of its wait for keys")
    first, second = work / "first", work / "second"
    first.mkdir()
    second.mkdir()
    drives = ["-drive", f"file={sector(first, 'the first')},format=raw,if=none,id=a",
              "-drive", f"file={sector(second, 'the second')},format=raw,if=none,id=b"]
    _, text, log = run(work, engine, *drives, "-device", "virtio-blk-pci,drive=a,bootindex=2", "-device",
                       "virtio-blk-pci,drive=b,bootindex=1,addr=7.0")
    checks.holds("booted from the second" in text and "the first" not in text, "the lower bootindex is booted")
    checks.holds("1: /pci@i0cf8/scsi@7/disk@0,0" in log, "the path is as SeaBIOS knows it")
    _, text, _ = run(work, engine, *drives, "-device", "virtio-blk-pci,drive=a", "-device", "virtio-blk-pci,drive=b")
    checks.holds("booted from the first" in text, "without bootindex the first disk is booted")
    _, text, log = run(work, engine, "-boot", "strict=on,reboot-timeout=300,menu=on,splash-time=50", *drives, "-device",
                       "virtio-blk-pci,drive=a", "-device", "virtio-blk-pci,drive=b,bootindex=0")
    checks.holds("2: HALT" in log, "strict=on ends the list")
    checks.holds("boot menu" in log, "menu=on offers the menu")
    if checks.failed:
        print(log[-3000:])
    disks = ["-drive", f"file={work}/first/sector.img,format=raw,if=ide", "-drive", f"file={work}/second/sector.img,format=raw,if=floppy"]
    with open(work / "second/sector.img", "r+b") as floppy:
        floppy.truncate(1440 << 10)
    for order, wanted in [("cad", ["first", "first"]), ("a", ["second", "second"]), ("order=c,once=a", ["second", "first"])]:
        _, text, _ = run(work, engine, "-boot", order, *disks)
        found = [line.split()[-1] for line in text.splitlines() if "booted from" in line]
        checks.holds(found == wanted, f"-boot {order} boots {wanted} (was {found})")


def grub(engine, work, checks):
    """GRUB from a CD-ROM, started by SeaBIOS (El Torito) and by OVMF; its `halt` reads the ACPI tables and powers off."""
    if not shutil.which("grub-mkrescue") or not shutil.which("xorriso"):
        skip("grub-mkrescue or xorriso is not installed")
    (work / "tree/boot/grub").mkdir(parents=True)
    (work / "tree/boot/grub/grub.cfg").write_text('serial --unit=0\nterminal_output serial\necho "GRUB $grub_platform runs"\nhalt\n')
    made = subprocess.run(["grub-mkrescue", "-o", work / "grub.iso", work / "tree"], capture_output=True, text=True)
    if made.returncode:
        skip("grub-mkrescue: " + made.stderr[-200:])
    cdrom = ["-cdrom", work / "grub.iso"]
    status, text, log = run(work, engine, *cdrom)
    checks.holds("GRUB pc runs" in text, "GRUB runs, started by SeaBIOS")
    checks.holds(status == 0, f"halt powers off (exit status {status})")
    if pathlib.Path("/usr/lib/grub/x86_64-efi").exists() and (OVMF / "OVMF_CODE_4M.fd").exists():
        variables = work / "vars.fd"
        variables.write_bytes((OVMF / "OVMF_VARS_4M.fd").read_bytes())
        status, text = converse(work, engine, [], *cdrom, *flash(variables))
        checks.holds("GRUB efi runs" in text, "GRUB runs, started by OVMF")
        checks.holds(status == 0, f"halt powers off (exit status {status})")
    if checks.failed:
        print(text[-2000:])
        print(log[-2000:])


CASES = {f.__name__: f for f in [seabios, ovmf, kernel, splash, secureboot, bootorder, grub]}


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
