#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot loaders from the media Debian has for them, read from the screen and driven with keys: loaders_test.py ENGINE CASE [VNC-TYPE]."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

from system import PATIENCE, Checks, System, VMM, need, run, skip

RESCUE = "/usr/lib/grub-rescue"


def grub_menu(checks, system):
    """From GRUB's menu to its command line."""
    checks.holds(system.shows("GNU GRUB  version", 90) and system.shows("Memtest86+"), "GRUB's menu is on the screen")
    system.type("c")
    checks.holds(system.shows("grub>"), "the key c brings the command line")


def grub_commands(checks, system, drive):
    system.type("ls\n")
    checks.holds(system.shows(drive), f"ls names {drive}")
    system.type("echo Reads-Keys\n")
    checks.holds(system.shows_row("Reads-Keys"), "echo says what was typed")


def grub_cd(engine, checks):
    """Debian's GRUB rescue disc, by El Torito from the drive on the IDE channel."""
    need((f"{RESCUE}/grub-rescue-cdrom.iso", "grub-rescue-pc"))
    with System(engine, "-cdrom", f"{RESCUE}/grub-rescue-cdrom.iso", memory="128") as system:
        grub_menu(checks, system)
        grub_commands(checks, system, "(cd)")
        show(checks, system)


def grub_floppy(engine, checks):
    """Debian's GRUB rescue floppy, read through the controller and its DMA channel."""
    need((f"{RESCUE}/grub-rescue-floppy.img", "grub-rescue-pc"))
    with System(engine, "-drive", f"if=floppy,format=raw,readonly=on,file={RESCUE}/grub-rescue-floppy.img", memory="128") as system:
        grub_menu(checks, system)
        grub_commands(checks, system, "(fd0)")
        show(checks, system)


def grub_vnc(engine, checks):
    """The disc once more, typed at by a VNC client."""
    need((f"{RESCUE}/grub-rescue-cdrom.iso", "grub-rescue-pc"))
    client = sys.argv[3] if len(sys.argv) > 3 else skip("no VNC client: the package libvncserver-dev was missing in the build")
    if not (VMM.parent / "display-vnc.so").exists():
        skip("the VNC module was not built: libvncserver or libxkbcommon is missing")
    with tempfile.TemporaryDirectory(prefix="xuni-vnc-") as folder:
        socket = f"{folder}/vnc"
        with System(engine, "-cdrom", f"{RESCUE}/grub-rescue-cdrom.iso", "-vnc", f"unix:{socket}", memory="128") as system:
            grub_menu(checks, system)
            said = subprocess.run([client, socket, "echo Over_VNC"], capture_output=True, text=True, timeout=60 * PATIENCE)
            checks.holds(said.returncode == 0, f"LibVNCClient's session: {said.stdout.strip()}")
            checks.holds(system.shows_row("Over_VNC"), "echo says what the client typed")
            show(checks, system)


CONFIG = "PROMPT 1\nTIMEOUT 0\nSAY Speaks-First\nDEFAULT nothing\n"


def syslinux_prompt(checks, system, name):
    checks.holds(system.shows("Speaks-First", 90) and system.shows("boot:"), f"{name} reads its configuration and prompts")
    system.type("other\n")
    checks.holds(system.shows("boot: other", 10), "it shows what was typed")
    show(checks, system)


def isolinux(engine, checks):
    """ISOLINUX on a disc that xorriso makes."""
    need(("/usr/lib/ISOLINUX/isolinux.bin", "isolinux"), ("/usr/lib/syslinux/modules/bios/ldlinux.c32", "syslinux-common"),
         ("xorriso", "xorriso"))
    with tempfile.TemporaryDirectory(prefix="xuni-isolinux-") as folder:
        tree = pathlib.Path(folder) / "tree"
        tree.mkdir()
        for file in ["/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"]:
            shutil.copy(file, tree)
        (tree / "isolinux.cfg").write_text(CONFIG)
        run("xorriso", "-as", "mkisofs", "-quiet", "-o", f"{folder}/disc.iso", "-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot",
            "-boot-load-size", "4", "-boot-info-table", tree)
        with System(engine, "-cdrom", f"{folder}/disc.iso", memory="128") as system:
            syslinux_prompt(checks, system, "ISOLINUX")


def syslinux(engine, checks):
    """SYSLINUX on a FAT floppy of 1440 KiB."""
    need(("syslinux", "syslinux"), ("mkfs.fat", "dosfstools"), ("mcopy", "mtools"))
    with tempfile.TemporaryDirectory(prefix="xuni-syslinux-") as folder:
        floppy, config = f"{folder}/floppy.img", pathlib.Path(folder) / "syslinux.cfg"
        config.write_text(CONFIG)
        run("mkfs.fat", "-C", floppy, "1440")
        run("mcopy", "-i", floppy, config, "::syslinux.cfg")
        run("syslinux", "--install", floppy)
        with System(engine, "-drive", f"if=floppy,format=raw,file={floppy}", memory="128") as system:
            syslinux_prompt(checks, system, "SYSLINUX")


def show(checks, system):
    if checks.failed:
        print(system.screen())


CASES = {f.__name__: f for f in [grub_cd, grub_floppy, grub_vnc, isolinux, syslinux]}


def main():
    checks = Checks()
    need(("/usr/share/seabios/bios-256k.bin", "seabios"))
    CASES[sys.argv[2]](sys.argv[1], checks)
    checks.end()


main()
