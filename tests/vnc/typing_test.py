#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VNC client types, points at and pastes, as Debian's kernel reports it: typing_test.py ENGINE PROGRAM (input_report.c) [viewer].

viewer: a viewer of the distribution, on a screen in memory, is typed into."""
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "boot"), str(HERE.parent / "input")]
from linux_test import Session  # noqa: E402
from machine import GUEST, VMM, Checks, Workspace, engine_or_skip, skip  # noqa: E402
from rfb import QEMU_KEYS, QEMU_LED, QEMU_POINTER, RAW, Client  # noqa: E402
from vnc_test import free_display  # noqa: E402


def main():
    engine, program = sys.argv[1], pathlib.Path(sys.argv[2])
    engine_or_skip(engine)
    if not (VMM.parent / "display-vnc.so").exists():
        skip("the VNC module was not built: libvncserver or libxkbcommon is missing")
    guest = GUEST / "amd64"
    if not (guest / "vmlinuz").exists():
        skip("no guest with all drivers; make it with guests/make-guest .cache/guest/amd64 amd64")
    viewer = len(sys.argv) > 3
    missing = [name for name in ("Xvfb", "xtightvncviewer", "xdotool") if viewer and not shutil.which(name)]
    if missing:
        skip(f"{', '.join(missing)}: not installed (packages xvfb, xtightvncviewer, xdotool)")
    checks = Checks()
    number = free_display()
    with Workspace(guest) as work:
        work.add("bin/input-report", program)
        sockets = [str(work.path / "us"), str(work.path / "qmp")]
        command = work.command(engine, "quiet xuni=input-report", "-no-reboot", "-k", "de", "-vga", "std", "-device", "virtio-tablet-pci",
                               "-vnc", f"unix:{sockets[0]},clipboard=on", "-vnc", f"127.0.0.1:{number}", "-qmp", f"unix:{sockets[1]},server=on,wait=off")
        session = Session(command, sockets[1])
        try:
            session.connect()
            ready = session.until(lambda lines: "input ready" in lines, "the guest")
            checks.holds(ready, "the guest is ready")
            if not ready:
                print("\n".join(session.lines[-40:]))
                checks.end()
            if viewer:
                check_viewer(checks, session, number)
                checks.end()
            check(checks, session, Client(sockets[0]))
            other = Client(sockets[0])
            other.encodings(RAW)
            expect(checks, session, "Shift held by a client that leaves is released",
                   lambda: (other.key(0xffe1, True), other.whole(), other.close()), "key:42=1 key:42=0")
        finally:
            session.end()
    checks.end()


class Viewer:
    """xtightvncviewer, which tells keysyms only, on an X server without a window manager: keys go to where the pointer is."""

    def __init__(self, number):
        self.server = subprocess.Popen(["Xvfb", "-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp", "-r"], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL)
        if not select.select([self.server.stdout], [], [], 60)[0]:
            raise AssertionError("Xvfb does not start")
        self.environment = dict(os.environ, DISPLAY=f":{self.server.stdout.readline().decode().strip()}", LC_ALL="C.UTF-8")
        self.viewer = subprocess.Popen(["xtightvncviewer", "-geometry", "+0+0", f"127.0.0.1::{5900 + number}"], env=self.environment,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def do(self, *words):
        return subprocess.run(["xdotool", *words], env=self.environment, timeout=60, check=True, capture_output=True, text=True).stdout

    def end(self):
        for process in (self.viewer, self.server):
            process.kill()
            process.wait()


def check_viewer(checks, session, number):
    viewer = Viewer(number)
    try:
        viewer.do("search", "--sync", "--onlyvisible", "--name", "TightVNC")
        before = len(session.reports())
        for count, x in enumerate((100, 120), 1):
            viewer.do("mousemove", str(x), "100")
            moved = session.until(lambda lines, count=count: " ".join(session.reports()[before:]).count("abs:0=") >= count, "the pointer", 60)
        checks.holds(moved, "the pointer moves")
        expect(checks, session, "a click", lambda: viewer.do("click", "1"), "key:272=1 key:272=0")
        expect(checks, session, "German z and y", lambda: viewer.do("key", "z", "y"), "key:21=1 key:21=0 key:44=1 key:44=0")
        expect(checks, session, "umlaut, sharp s", lambda: viewer.do("key", "udiaeresis", "ssharp"), "key:26=1 key:26=0 key:12=1 key:12=0")
        expect(checks, session, "Shift let go before the letter", lambda: viewer.do("key", "shift+z"), "key:42=1 key:21=1 key:42=0 key:21=0")
        expect(checks, session, "Ctrl-Alt-x, Return, Up", lambda: viewer.do("key", "ctrl+alt+x", "Return", "Up"),
               "key:29=1 key:56=1 key:45=1 key:29=0 key:56=0 key:45=0 key:28=1 key:28=0 key:103=1 key:103=0")
    finally:
        viewer.end()


def expect(checks, session, what, act, wanted):
    before = len(session.reports())
    act()
    wanted = wanted.split()

    def have(_=None):
        events = " ".join(line.split(" ", 2)[2] for line in session.reports()[before:] if line.count(" ") >= 2).split()
        return [event for event in events if not event.startswith("led:")]

    session.until(lambda lines: len(have()) >= len(wanted), what, 10)
    time.sleep(0.05)
    checks.holds(have() == wanted, f"{what}" + ("" if have() == wanted else f": {have()}, not {wanted}"))


def check(checks, session, client):
    client.encodings(RAW)
    press = client.press
    expect(checks, session, "a", lambda: press(ord("a")), "key:30=1 key:30=0")
    expect(checks, session, "A without Shift", lambda: press(ord("A")), "key:42=1 key:30=1 key:30=0 key:42=0")
    expect(checks, session, "A with Shift", lambda: (client.key(0xffe1, True), press(ord("A")), client.key(0xffe1, False)),
           "key:42=1 key:30=1 key:30=0 key:42=0")
    expect(checks, session, "Shift let go before the letter", lambda: (client.key(0xffe1, True), client.key(ord("A"), True),
           client.key(0xffe1, False), client.key(ord("a"), False)), "key:42=1 key:30=1 key:42=0 key:30=0")
    expect(checks, session, "German z and y", lambda: press(ord("z"), ord("y")), "key:21=1 key:21=0 key:44=1 key:44=0")
    expect(checks, session, "German @ (AltGr q) and umlaut", lambda: press(ord("@"), 0xe4),
           "key:100=1 key:16=1 key:16=0 key:100=0 key:40=1 key:40=0")
    expect(checks, session, "Ctrl-Alt-F2, cursor keys", lambda: (client.key(0xffe3, True), client.key(0xffe9, True), press(0xffbf),
           client.key(0xffe9, False), client.key(0xffe3, False), press(0xff52)),
           "key:29=1 key:56=1 key:60=1 key:60=0 key:56=0 key:29=0 key:103=1 key:103=0")
    expect(checks, session, "pasted text", lambda: client.cut_text("Ho!\n"),
           "key:42=1 key:35=1 key:35=0 key:42=0 key:24=1 key:24=0 key:42=1 key:2=1 key:2=0 key:42=0 key:28=1 key:28=0")
    expect(checks, session, "the pointer", lambda: client.pointer(0, client.width - 1, 0), "abs:0=32767")
    expect(checks, session, "a click there", lambda: (client.pointer(1, client.width - 1, 0), client.pointer(0, client.width - 1, 0)),
           "key:272=1 key:272=0")
    expect(checks, session, "the wheel", lambda: (client.pointer(8, client.width - 1, 0), client.pointer(0, client.width - 1, 0)), "rel:8=1")
    client.encodings(RAW, QEMU_KEYS, QEMU_POINTER, QEMU_LED)
    client.whole()
    checks.holds(client.keys and client.absolute, "the client is told: keys by number, absolute pointer")
    expect(checks, session, "keys by number", lambda: [client.key_number(number, down, 0x7a) for number in (0x15, 0x9d) for down in (1, 0)],
           "key:21=1 key:21=0 key:97=1 key:97=0")
    expect(checks, session, "Caps Lock", lambda: [client.key_number(0x3a, down) for down in (1, 0)], "key:58=1 key:58=0")
    client.whole()
    checks.holds(client.led == 4, "the client is told of the LED")
    expect(checks, session, "with Caps Lock a capital needs no Shift", lambda: press(ord("A")), "key:30=1 key:30=0")


if __name__ == "__main__":
    main()
