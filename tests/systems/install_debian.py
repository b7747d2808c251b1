#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's installer by PXE, from the package debian-installer-12-netboot-amd64, on any engine or qemu's TCG.

    install_debian.py ENGINE screen       to the installer's first question, read from the screen
    install_debian.py ENGINE install      an unattended installation onto a qcow2 disk, to the first login from it; says how long it took

The whole installation fetches about 200 MiB of packages through a server of this script on loopback, which keeps what it has fetched
from the host's Debian mirror in .cache/mirror. What the installer says on its console is in .cache/install.log.
"""
import http.server
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from system import GUEST, PATIENCE, Checks, System, need, skip

NETBOOT = pathlib.Path("/usr/lib/debian-installer/images/12/amd64/text")
CACHE = GUEST.parent / "mirror"
HOURS = 3600
PRESEED = """d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string xuni
d-i netcfg/get_domain string invalid
d-i mirror/country string manual
d-i mirror/http/hostname string 10.0.2.2:{port}
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
d-i mirror/suite string bookworm
d-i passwd/make-user boolean false
d-i passwd/root-password password xuni
d-i passwd/root-password-again password xuni
d-i clock-setup/utc boolean true
d-i clock-setup/ntp boolean false
d-i time/zone string UTC
d-i partman-auto/disk string /dev/vda
d-i partman-auto/method string regular
d-i partman-auto/choose_recipe select atomic
d-i partman-basicfilesystems/no_swap boolean false
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i base-installer/install-recommends boolean false
d-i base-installer/kernel/image string linux-image-cloud-amd64
d-i base-installer/initramfs-tools/driver-policy select dep
d-i apt-setup/services-select multiselect
d-i apt-setup/enable-source-repositories boolean false
tasksel tasksel/first multiselect
d-i pkgsel/include string
d-i pkgsel/upgrade select none
d-i pkgsel/update-policy select none
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/bootdev string /dev/vda
d-i debian-installer/add-kernel-opts string console=ttyS0
d-i finish-install/reboot_in_progress note
d-i debian-installer/exit/poweroff boolean true
"""


def host_mirror():
    """Where the host's apt gets Debian from."""
    text = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True).stdout
    found = re.search(r"^http://\S*/debian/?$", text, re.M)
    return found[0].rstrip("/") if found else skip("the host's apt has no Debian mirror with http:")


class Mirror:
    """Serves /preseed.cfg, and /debian out of CACHE or the host's mirror."""

    def __init__(self):
        upstream = host_mirror()
        mirror = self
        self.fetched_bytes = self.served_bytes = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    body = PRESEED.format(port=mirror.port).encode() if self.path == "/preseed.cfg" else mirror.file(upstream, self.path)
                except (urllib.error.URLError, OSError) as error:
                    print(f"the mirror has no {self.path}: {error}", flush=True)
                    self.send_error(getattr(error, "code", 502))
                    return
                mirror.served_bytes += len(body)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def file(self, upstream, path):
        if not re.fullmatch(r"/debian(/[A-Za-z0-9_+~.:%-]+)+", path) or "/.." in path:
            raise FileNotFoundError(path)
        place = CACHE / path[1:]
        if place.is_file():
            return place.read_bytes()
        body = urllib.request.urlopen(upstream + path[len("/debian"):], timeout=60).read()
        self.fetched_bytes += len(body)
        if "/pool/" in path or "/by-hash/" in path:  # names whose contents do not change
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f"{place.name}.{threading.get_ident()}")
            part.write_bytes(body)
            part.rename(place)
        return body


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


def hears(system, text):
    """For hours; what the installer says is written down meanwhile."""
    deadline = time.monotonic() + 4 * HOURS
    while not system.hears(text, 5):
        CACHE.with_name("install.log").write_text(system.serial)
        if time.monotonic() > deadline or system.process.poll() is not None:
            return False
    return True


def install(engine, checks, folder):
    mirror, disk, start = Mirror(), folder / "disk.qcow2", time.monotonic()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "4G"], check=True)
    drive = ["-drive", f"if=virtio,format=qcow2,file={disk},cache=unsafe"]
    append = (f"auto=true priority=critical url=http://10.0.2.2:{mirror.port}/preseed.cfg console=ttyS0 DEBIAN_FRONTEND=text "
              "TERM=dumb --- quiet")

    def at(what):
        print(f"{time.monotonic() - start:7.1f} s  {what}; {mirror.served_bytes >> 20} MiB served, {mirror.fetched_bytes >> 20} of them "
              "fetched", flush=True)

    with System(engine, *boot_tree(folder, append), "-boot", "n", *drive, memory="1024") as system:
        for text, what in [("Retrieving", "the installer has its preseed"), ("artition", "partitions are made"),
                           ("Installing the base system", "the base system is installed"),
                           ("GRUB", "GRUB is installed"), ("inishing the installation", "the installation ends")]:
            checks.holds(hears(system, text), what)
            at(what)
            if checks.failed:
                print(system.serial[-4000:])
                return
        checks.holds(system.ends(HOURS), "the installer powers the machine off")
        at("installed")
    with System(engine, *drive, "-nic", "user", memory="512") as system:
        checks.holds(system.hears("xuni login: ", HOURS), "the installed system comes to its login prompt")
        at("login prompt")
        system.send("root\r")
        system.hears("Password: ")
        system.send("xuni\r")
        system.hears("# ")
        system.send("cat /etc/debian_version; uname -r; echo done-$((6*7)); poweroff\r")
        checks.holds(system.hears("done-42", 300), "root logs in with the password of the preseed")
        checks.holds(system.ends(300), "poweroff ends the machine")
        if checks.failed:
            print(system.serial[-3000:])


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in ("screen", "install"):
        sys.exit(__doc__)
    checks = Checks()
    need((NETBOOT / "pxelinux.0", "debian-installer-12-netboot-amd64"), ("/usr/share/seabios/bios-256k.bin", "seabios"),
         ("/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu"), ("qemu-img", "qemu-utils"))
    with tempfile.TemporaryDirectory(prefix="xuni-install-") as folder:
        {"screen": screen, "install": install}[sys.argv[2]](sys.argv[1], checks, pathlib.Path(folder))
    checks.end()


main()
