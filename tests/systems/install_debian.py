#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's installer by PXE, from the package debian-installer-12-netboot-amd64, on any engine or qemu's TCG.

    install_debian.py ENGINE screen       to the installer's first question, read from the screen
    install_debian.py ENGINE install      an unattended installation onto a qcow2 disk, its first boot, and what the disk has then

What runs in the installation is Debian's: PXELINUX, the installer's kernel, menu and debconf with a preseed, its set-up of the network,
anna, which fetches components from the mirror of the test, bootstrap-base with debootstrap, base-installer for apt, the initramfs and the
kernel; grub-install. Debian's archive no longer has a good part of the components of this release's installer (partman-ext3, e2fsprogs-udeb,
grub-installer, user-setup, finish-install...: 404), so that installer/ takes the place of the partitioner and of the steps after the kernel, and
mke2fs, sfdisk and debootstrap come out of the ordinary packages.

The mirror has about 80 MiB, kept in .cache/mirror. What the machine says is in .cache/install.ENGINE.log, its syslog in .cache/install.ENGINE.syslog.
"""
import os
import pathlib
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time

from mirror import Archive, Mirror, component
from system import GUEST, HERE, PATIENCE, Checks, System, need, run

NETBOOT = pathlib.Path("/usr/lib/debian-installer/images/12/amd64/text")
CACHE = GUEST.parent / "mirror"
MINUTES = 60
CODENAME = "bookworm"
KERNEL = "linux-image-cloud-amd64"
PACKAGES = ["usr-is-merged", "apt", "systemd-sysv", "udev", "dbus", "debconf-i18n", "busybox", "zstd", "initramfs-tools", KERNEL, "grub-pc"]
TOOLS = ["e2fsprogs", "libext2fs2", "libcom-err2", "libss2", "fdisk", "libfdisk1", "libsmartcols1", "libreadline8"]
PRESEED = f"""d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i mirror/country string manual
d-i mirror/http/hostname string 10.0.2.2:@PORT@
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
d-i mirror/suite string {CODENAME}
d-i debian-installer/allow_unauthenticated boolean true
d-i hw-detect/firmware-lookup string never
d-i passwd/root-password password xuni
d-i base-installer/debootstrap_variant string minbase
d-i base-installer/includes string usr-is-merged systemd-sysv udev dbus debconf-i18n
d-i base-installer/install-recommends boolean false
d-i base-installer/kernel/image string {KERNEL}
d-i base-installer/initramfs-tools/driver-policy select dep
d-i preseed/early_command string tail -n +1 -F /var/log/syslog >/dev/ttyS1 2>/dev/null </dev/null &
"""


def make_mirror(folder):
    """Packages of the host's apt, the installer's components that the archive still has, and what takes the place of the others."""
    archive = Archive(CACHE)
    debs = archive.packages([*archive.required(), *PACKAGES, "debootstrap", *TOOLS])

    def of(names):
        return [file for file in debs if file.name.split("_")[0] in names]

    linux = (NETBOOT / "debian-installer/amd64/linux").read_bytes()
    release = linux[0x200 + struct.unpack_from("<H", linux, 0x20e)[0]:].split(b" ")[0].decode()
    udebs = archive.components(["bootstrap-base", "base-installer",
                                *[f"{name}-modules-{release}-di" for name in ["scsi", "ata", "cdrom-core", "ext4"]]])
    udebs += [
        component(folder, "debootstrap-udeb", "Depends: mounted-partitions\nDescription: debootstrap\n", of(["debootstrap"]),
                  ["usr/sbin/", "usr/share/debootstrap/"]),
        component(folder, "partition", "Provides: mounted-partitions, created-fstab, di-utils-mapdevfs\nDepends: di-utils\n"
                  "Installer-Menu-Item: 4200\nDescription: Partition disks\n", of(TOOLS), ["sbin/", "lib/", "usr/lib/x86", "etc/mke2fs"],
                  {"usr/lib/base-installer.d/10hook": HERE / "installer/base-installer.hook"}, HERE / "installer/partition.postinst"),
        component(folder, "finish", "Provides: bootable-system\nDepends: installed-base, created-fstab\nInstaller-Menu-Item: 7800\n"
                  "Description: Finish the installation\n", postinst=HERE / "installer/finish.postinst"),
    ]
    mirror = Mirror(CODENAME, [file for file in debs if file not in of(["debootstrap"])], udebs)
    mirror.bodies["/preseed.cfg"] = PRESEED.replace("@PORT@", str(mirror.port)).encode()
    return mirror


def boot_tree(folder, append):
    """The package's files with a configuration for PXELINUX that asks nothing."""
    tree = folder / "tftp"
    (tree / "pxelinux.cfg").mkdir(parents=True)
    for name in ["pxelinux.0", "ldlinux.c32", "debian-installer"]:
        (tree / name).symlink_to(NETBOOT / name)
    (tree / "pxelinux.cfg/default").write_text(
        "DEFAULT install\nLABEL install\nKERNEL debian-installer/amd64/linux\n"
        f"APPEND initrd=debian-installer/amd64/initrd.gz {append}\n")
    return ["-nic", f"user,ipv6=off,model=virtio-net-pci,tftp={tree},bootfile=pxelinux.0"]


BLUE, GREY, RED = (0, 0, 170), (170, 170, 170), (170, 0, 0)
GLYPH_ROWS = 16


def chosen_row(system):
    """The list of languages is a grey box on blue with one red bar: its first row of pixels, or None while there is none."""
    width, height, pixels = system.pixels()

    def at(x, y):
        return tuple(pixels[(y * width + x) * 3:(y * width + x) * 3 + 3])

    middle = [at(width * 42 // 100, y) for y in range(height)]
    if at(0, 0) != BLUE or middle.count(GREY) < height // 4 or middle.count(RED) != GLYPH_ROWS:
        return None
    first = middle.index(RED)
    return first if middle[first:first + GLYPH_ROWS] == [RED] * GLYPH_ROWS else None


def waits_for(condition, seconds):
    deadline = time.monotonic() + seconds * PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def screen(engine, checks, folder):
    with System(engine, *boot_tree(folder, "quiet"), "-boot", "n", memory="1024") as system:
        checks.holds(system.shows("PXELINUX", 120), "SeaBIOS and iPXE fetch PXELINUX")
        checks.holds(waits_for(lambda: chosen_row(system), 240), "the installer shows its list of languages, one of them chosen")
        first = chosen_row(system) or 0
        system.hmp("sendkey down")
        checks.holds(waits_for(lambda: chosen_row(system) == first + GLYPH_ROWS, 30), "the key Down chooses the next one")
        if checks.failed:
            print(system.screen())


def processor_seconds(process):
    """What the machine has used so far, which says more than the clock where others use the host too."""
    stat = pathlib.Path(f"/proc/{process.pid}/stat")
    if process.returncode is not None:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    words = stat.read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def hears(system, text, log, minutes=90):
    """What the machine says is written down meanwhile."""
    deadline = time.monotonic() + minutes * MINUTES * PATIENCE
    while not system.hears(text, 5):
        log.write_text(system.serial)
        if time.monotonic() > deadline or system.process.poll() is not None or "!! ERROR" in system.serial:
            return False
    return True


def install(engine, checks, folder):
    mirror, disk = make_mirror(folder), folder / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", disk, "2G")
    # Programs at the same addresses in each process: otherwise every emulator spends most of the time on translating them anew.
    append = (f"norandmaps auto=true priority=critical url=http://10.0.2.2:{mirror.port}/preseed.cfg hostname=xuni domain=invalid console=ttyS0 "
              "DEBIAN_FRONTEND=text TERM=dumb --- quiet")
    log, syslog, start = *[CACHE.with_name(f"install.{engine}.{suffix}") for suffix in ("log", "syslog")], time.monotonic()

    def step(condition, what):
        checks.holds(condition, what)
        print(f"{time.monotonic() - start:7.1f} s, {processor_seconds(system.process):.1f} s of the host's processors, "
              f"{mirror.served_bytes >> 20} MiB served", flush=True)
        return condition

    with System(engine, *boot_tree(folder, append), "-boot", "order=c,once=n", "-drive", f"if=virtio,format=qcow2,file={disk}",
                "-serial", f"file:{syslog}", memory="1024") as system:
        done = all(step(hears(system, text, log), what) for text, what in [
            ("Loading additional components", "the installer has its preseed and its network"),
            ("Partition disks", "its components are loaded"),
            ("Installing the base system", "the disk has a file system"),
            ("Finish the installation", "the base system and a kernel are installed"),
            ("GRUB", "the machine starts again, from its disk, by GRUB"),
            ("xuni login: ", "the installed system comes to its login prompt")]) and first_boot(system, step)
        log.write_text(system.serial)
        if not done:
            print(system.serial[-3000:], *mirror.missed, sep="\n")
            return
    examine(disk, folder, checks)


def first_boot(system, step):
    """Logs in at the serial console, looks around, and powers off."""
    system.send("root\r")
    system.hears("Password: ")
    system.send("xuni\r")
    step(system.hears("# "), "root logs in with the password of the preseed")
    system.send("echo packages=$(dpkg -l | grep -c ^ii) broken=$(dpkg --audit | wc -l) kernel=$(uname -r) "
                "release=$(cat /etc/debian_version) state=$(systemctl is-system-running --wait); echo done-$((6*7))\r")
    step(system.hears("done-42", 300), "a shell runs programs")
    said = re.search(r"packages=(\d+) broken=0 kernel=\S+-cloud-amd64 release=12\.\d+ state=running", system.serial)
    step(said and int(said[1]) > 100, f"the system is whole: {said[0] if said else system.serial[-400:]}")
    system.send("poweroff\r")
    return step(system.ends(300), "poweroff ends the machine")


def examine(disk, folder, checks):
    """The image and the file system in it, by qemu-img and e2fsprogs."""
    checked = subprocess.run(["qemu-img", "check", disk], capture_output=True, text=True)
    checks.holds(checked.returncode == 0 and "No errors were found" in checked.stdout, "qemu-img finds no error in the image")
    raw = folder / "disk.raw"
    run("qemu-img", "convert", "-O", "raw", disk, raw)
    partition = f"{raw}?offset={1 << 20}"
    checked = subprocess.run(["e2fsck", "-f", "-n", partition], capture_output=True, text=True)
    checks.holds(checked.returncode == 0, "e2fsck finds no error in the file system")
    if checks.failed:
        print(checked.stdout)
    version = subprocess.run(["debugfs", "-R", "cat /etc/debian_version", partition], capture_output=True, text=True).stdout
    checks.holds(re.fullmatch(r"12\.\d+\n", version), "the file system has /etc/debian_version")


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in ("screen", "install"):
        sys.exit(__doc__)
    checks = Checks()
    need((NETBOOT / "pxelinux.0", "debian-installer-12-netboot-amd64"), ("/usr/share/seabios/bios-256k.bin", "seabios"),
         ("/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu"), ("qemu-img", "qemu-utils"), ("e2fsck", "e2fsprogs"))
    with tempfile.TemporaryDirectory(prefix="xuni-install-") as folder:
        {"screen": screen, "install": install}[sys.argv[2]](sys.argv[1], checks, pathlib.Path(folder))
    checks.end()


main()
