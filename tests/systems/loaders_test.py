#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot loaders from the media Debian has for them, read from the screen and driven with keys: loaders_test.py ENGINE CASE [VNC-TYPE]."""
import contextlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from disks import GRUB
from system import GUEST, PATIENCE, Checks, System, VMM, need, run, skip

RESCUE = "/usr/lib/grub-rescue"
OVMF = pathlib.Path("/usr/share/OVMF")


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


def vnc_client():
    """The program that types, and skips without it or the module."""
    if len(sys.argv) < 4:
        skip("no VNC client: the package libvncserver-dev was missing in the build")
    if not (VMM.parent / "display-vnc.so").exists():
        skip("the VNC module was not built: libvncserver or libxkbcommon is missing")
    return sys.argv[3]


def type_over_vnc(checks, client, socket, text):
    said = subprocess.run([client, socket, text], capture_output=True, text=True, timeout=60 * PATIENCE)
    checks.holds(said.returncode == 0, f"LibVNCClient's session: {said.stdout.strip()}")


def grub_vnc(engine, checks):
    """The disc once more, typed at by a VNC client."""
    need((f"{RESCUE}/grub-rescue-cdrom.iso", "grub-rescue-pc"))
    client = vnc_client()
    with tempfile.TemporaryDirectory(prefix="xuni-vnc-") as folder:
        socket = f"{folder}/vnc"
        with System(engine, "-cdrom", f"{RESCUE}/grub-rescue-cdrom.iso", "-vnc", f"unix:{socket}", memory="128") as system:
            grub_menu(checks, system)
            type_over_vnc(checks, client, socket, "echo Over_VNC")
            checks.holds(system.shows_row("Over_VNC"), "echo says what the client typed")
            show(checks, system)


def uefi_menu(engine, disc, folder, checks):
    """The picture of GRUB's menu, drawn by OVMF in a graphics mode, after the second entry was chosen with a key."""
    variables = pathlib.Path(folder) / f"{engine}.fd"
    shutil.copy(OVMF / "OVMF_VARS_4M.fd", variables)
    with System(engine, "-cdrom", disc, "-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd", "-drive",
                f"if=pflash,format=raw,file={variables}", memory="256") as system:
        checks.holds(system.hears("The last entry", 120), f"{engine}: OVMF starts GRUB, which draws its menu")
        before = system.pixels()
        system.hmp("sendkey down")
        deadline = time.monotonic() + 20 * PATIENCE
        while system.pixels() == before and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)  # the bar moves in several steps
        after = system.pixels()
        checks.holds(after != before, f"{engine}: the key Down moves the bar")
        return after


def grub_uefi(engine, checks):
    """GRUB's menu in graphics, as qemu shows it: the same firmware draws the same picture, dot by dot."""
    need((OVMF / "OVMF_CODE_4M.fd", "ovmf"), (GRUB / "x86_64-efi/moddep.lst", "grub-efi-amd64-bin"), ("qemu-system-x86_64", "qemu-system-x86"),
         ("grub-mkrescue", "grub-common"), ("xorriso", "xorriso"), ("mformat", "mtools"))
    with tempfile.TemporaryDirectory(prefix="xuni-uefi-") as folder:
        tree, disc = pathlib.Path(folder) / "tree", f"{folder}/disc.iso"
        (tree / "boot/grub").mkdir(parents=True)
        (tree / "boot/grub/grub.cfg").write_text("set timeout=-1\nmenuentry 'The first entry' { true; }\nmenuentry 'The last entry' { true; }\n")
        run("grub-mkrescue", "-d", GRUB / "x86_64-efi", "-o", disc, tree)
        ours, theirs = [uefi_menu(e, disc, folder, checks) for e in (engine, "tcg")]
        checks.holds(ours[:2] == (1280, 800), f"the mode is 1280x800 (was {ours[0]}x{ours[1]})")
        checks.holds(ours == theirs, "the picture is qemu's")


def efi_shell(engine, checks):
    """OVMF's own shell, typed at by a VNC client; its screen is the same in the interpreter and in qemu, dot by dot."""
    need((OVMF / "OVMF_CODE_4M.fd", "ovmf"), ("qemu-system-x86_64", "qemu-system-x86"))
    client = vnc_client()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xuni-shell-"))
        systems = {}
        for name in [engine, "interp", "tcg"]:
            variables = pathlib.Path(folder) / f"{name}.fd"
            shutil.copy(OVMF / "OVMF_VARS_4M.fd", variables)
            systems[name] = stack.enter_context(System(
                name, "-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd", "-drive",
                f"if=pflash,format=raw,file={variables}", *(["-vnc", f"unix:{folder}/{name}"] if name != "tcg" else []), memory="256"))
        for name, system in systems.items():
            checks.holds(system.hears("any other key to continue", 120), f"{name}: OVMF starts its shell")
            system.hmp("sendkey esc")
            system.hears("Shell> ", 30)
            for text in ["cls", "ver"]:
                if name == "tcg":
                    system.type(text + "\n")
                else:
                    type_over_vnc(checks, client, f"{folder}/{name}", text)
                checks.holds(system.hears("Shell> ", 30), f"{name}: the shell obeys {text}")
        for name in ["interp", "tcg"]:
            # The serial line has the prompt a little before the screen.
            deadline = time.monotonic() + 20 * PATIENCE
            while systems[engine].pixels() != systems[name].pixels() and time.monotonic() < deadline:
                time.sleep(0.2)
            checks.holds(systems[engine].pixels() == systems[name].pixels(), f"{engine} shows what {name} shows, dot by dot")
        checks.holds(len(set(systems[engine].pixels()[2])) > 2, "which has colours")


CONFIG = "PROMPT 1\nTIMEOUT 0\nSAY Speaks-First\nDEFAULT nothing\n"


def syslinux_prompt(checks, system, name):
    checks.holds(system.shows("Speaks-First", 90) and system.shows("boot:"), f"{name} reads its configuration and prompts")
    system.type("other\n")
    checks.holds(system.shows("boot: other", 10), "it shows what was typed")
    show(checks, system)


def isolinux(engine, checks):
    """ISOLINUX on a disc that xorriso makes, and a program it starts: Syslinux' Hardware Detection Tool."""
    need(("/usr/lib/ISOLINUX/isolinux.bin", "isolinux"), ("/usr/lib/syslinux/modules/bios/ldlinux.c32", "syslinux-common"),
         ("xorriso", "xorriso"))
    modules = [f"/usr/lib/syslinux/modules/bios/{name}.c32" for name in ["ldlinux", "hdt", "libcom32", "libutil", "libmenu", "libgpl"]]
    with tempfile.TemporaryDirectory(prefix="xuni-isolinux-") as folder:
        tree = pathlib.Path(folder) / "tree"
        tree.mkdir()
        for file in ["/usr/lib/ISOLINUX/isolinux.bin", *modules]:
            shutil.copy(file, tree)
        (tree / "isolinux.cfg").write_text(CONFIG + "LABEL hdt\nCOM32 hdt.c32\n")
        run("xorriso", "-as", "mkisofs", "-quiet", "-o", f"{folder}/disc.iso", "-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot",
            "-boot-load-size", "4", "-boot-info-table", tree)
        with System(engine, "-cdrom", f"{folder}/disc.iso", memory="128") as system:
            checks.holds(system.shows("Speaks-First", 90) and system.shows("boot:"), "ISOLINUX reads its configuration and prompts")
            system.type("hdt\n")
            checks.holds(system.shows("Main Menu") and system.shows("PCI Devices( 5)"), "the tool counts the PCI functions")
            for key in ["down", "down", "ret"]:
                system.hmp(f"sendkey {key} 20")
                time.sleep(0.05)
            checks.holds(system.shows("xuni virtual CPU"), "and names the CPU")
            show(checks, system)


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


def memtest(engine, checks):
    """memtest86+ in 64-bit code by its own loader: it measures caches and memory, starts its tests, and obeys keys."""
    disc = "/usr/lib/memtest86+/memtest86+x64.iso"
    need((disc, "memtest86+"))
    with System(engine, "-cdrom", disc, memory="64") as system:
        checks.holds(system.shows("Memtest86+ v", 90), "memtest86+ draws its screen")
        checks.holds(system.shows("xuni virtual CPU") and system.shows("xuni Standard PC"), "it names the CPU, and the machine by SMBIOS")
        checks.holds(system.shows("Status: Testing"), "its tests run")
        system.hmp("sendkey f1")
        checks.holds(system.shows("Settings:"), "the key F1 brings its settings")
        show(checks, system)


def ipxe(engine, checks):
    """iPXE's disc, with its own driver of the network card."""
    disc = "/usr/lib/ipxe/ipxe.iso"
    need((disc, "ipxe"))
    with System(engine, "-cdrom", disc, "-nic", "user,model=rtl8139", memory="128") as system:
        checks.holds(system.shows("Ctrl-B for the iPXE command line", 90), "iPXE starts")
        system.hmp("sendkey ctrl-b")
        checks.holds(system.shows("iPXE>"), "Ctrl-B brings its command line")
        system.type("dhcp\n")
        checks.holds(system.shows("Configuring (net0") and system.shows_row("iPXE>"), "its driver's DHCP gets an answer")
        system.type("show net0/ip\n")
        checks.holds(system.shows("10.0.2.15"), "the address is slirp's")
        show(checks, system)


def grub_disc(folder, entry, *files):
    """A disc whose GRUB boots the entry's commands; files go to its root."""
    need(("grub-mkrescue", "grub-common"), ("xorriso", "xorriso"), (GRUB / "i386-pc/cdboot.img", "grub-pc-bin"), ("mformat", "mtools"))
    tree, disc = pathlib.Path(folder) / "tree", f"{folder}/disc.iso"
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "boot/grub/grub.cfg").write_text(f"set timeout=0\nmenuentry system {{\n{entry}\n}}\n")
    for file in files:
        shutil.copy(file, tree)
    run("grub-mkrescue", "-d", GRUB / "i386-pc", "-o", disc, tree)
    return disc


def mach(engine, checks):
    """GNU Mach by GRUB's Multiboot loader: 64-bit paging, interrupts, the console on the screen; it ends for want of servers."""
    kernel = "/boot/gnumach-1.8-486.gz"
    need((kernel, "gnumach-image-1.8-486"))
    with tempfile.TemporaryDirectory(prefix="xuni-mach-") as folder:
        with System(engine, "-cdrom", grub_disc(folder, f"multiboot /{pathlib.Path(kernel).name}", kernel), memory="128") as system:
            checks.holds(system.shows("GNU Mach 1.8", 90), "GNU Mach says its name")
            checks.holds(system.shows("com0: at atbus0, port = 3f8"), "it finds the serial port")
            checks.holds(system.shows("No bootstrap code loaded"), "it comes to where the Hurd would be started")
            show(checks, system)


def linux(engine, checks, flavour):
    kernel = GUEST / flavour / "vmlinuz"
    if not kernel.exists():
        skip(f"no kernel; make it with guests/make-guest .cache/guest/{flavour} {flavour}")
    with tempfile.TemporaryDirectory(prefix="xuni-linux-") as folder:
        entry = "linux /vmlinuz console=ttyS0 quiet\ninitrd /initrd.img"
        with System(engine, "-cdrom", grub_disc(folder, entry, kernel, GUEST / flavour / "initrd.img"), memory="256") as system:
            checks.holds(system.hears("Ctrl-a h helps", 120) and system.hears("# "), "Linux comes to its shell")
            system.send("uname -r; echo done-$((6*7)); poweroff -f\r")
            checks.holds(system.hears("done-42") and f"-{flavour}" in system.serial, f"it is the kernel of {flavour}")
            checks.holds(system.ends(60), "poweroff ends the machine")
            if checks.failed:
                print(system.serial[-3000:])


def linux686(engine, checks):
    """Debian's 32-bit kernel without PAE, by GRUB from a disc."""
    linux(engine, checks, "686")


def linux686pae(engine, checks):
    """Debian's 32-bit kernel with PAE, by GRUB from a disc."""
    linux(engine, checks, "686-pae")


def show(checks, system):
    if checks.failed:
        print(system.screen())


CASES = {f.__name__: f for f in [grub_cd, grub_floppy, grub_vnc, isolinux, syslinux, grub_uefi, efi_shell, memtest, ipxe, mach, linux686, linux686pae]}


def main():
    checks = Checks()
    need(("/usr/share/seabios/bios-256k.bin", "seabios"))
    CASES[sys.argv[2]](sys.argv[1], checks)
    checks.end()


main()
