#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""-display curses in a real terminal (tmux): SeaBIOS' screen with its colours, keys into a boot sector that shows them, a
graphics mode, a terminal that is resized, and the same screen under qemu. curses_test.py ENGINE."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from screen import VMM, skip  # noqa: E402


class Terminal:
    def __init__(self, folder, columns=100, rows=30, term="screen-256color"):
        self.socket = folder / "tmux"
        self.run("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows, "-s", "t",
                 f"TERM={term} LC_ALL=C.UTF-8 sh")

    def run(self, *arguments):
        environment = dict(os.environ, LC_ALL="C.UTF-8")
        return subprocess.run(["tmux", "-S", str(self.socket), *[str(a) for a in arguments]], env=environment,
                              check=True, capture_output=True, text=True).stdout

    def keys(self, *keys):
        self.run("send-keys", "-t", "t", *keys)

    def screen(self, colours=False):
        return self.run("capture-pane", "-p", "-t", "t", *(["-e"] if colours else []))

    def wait(self, text, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if text in self.screen():
                return True
            time.sleep(0.1)
        print(f"FAILED: '{text}' does not appear:\n{self.screen()}")
        return False

    def close(self):
        subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], capture_output=True)


def build(folder):
    subprocess.run(["as", "--32", "-o", folder / "keys.o", HERE / "keys.s"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", folder / "keys.img",
                    folder / "keys.o"], check=True)
    image = folder / "keys.img"
    image.write_bytes(image.read_bytes() + bytes(1 << 20))
    return image


# What is typed, and what the BIOS says of it: scan code and character.
TYPED = [("a", "1E61"), ("A", "1E41"), ("!", "0221"), ("~", "297E"), ("Enter", "1C0D"), ("Escape", "011B"),
         ("BSpace", "0E08"), ("Tab", "0F09"), ("C-c", "2E03"), ("M-x", "2D00"), ("F1", "3B00"), ("F12", "8600"),
         ("S-F2", "5500"), ("Up", "48E0"), ("End", "4FE0"), ("PPage", "49E0"), ("C-Right", "74E0"), ("DC", "53E0"),
         ("BTab", "0F00"), ("/", "352F"), ("{", "1A7B"), ("\\", "2B5C")]


def main():
    engine = sys.argv[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the terminal and what runs in it must not outlive the test
    if not shutil.which("tmux"):
        skip("no tmux")
    if engine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        skip("no /dev/kvm")
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        image = build(folder)
        terminal = Terminal(folder)
        try:
            terminal.keys(f"{VMM} -accel {engine} -m 16 -nodefaults -vga std -display curses,charset=CP437 -monitor vc "
                          f"-qmp unix:{folder}/qmp,server=on,wait=off "
                          f"-drive file={image},format=raw,if=ide; echo status $?", "Enter")
            good &= terminal.wait("type:")
            for key, says in TYPED:
                terminal.keys(key)
                good &= terminal.wait(says, 10)
            colours = terminal.screen(colours=True)
            for sequence in ["\x1b[", "═", "▒"]:
                if sequence not in colours:
                    print(f"FAILED: no '{sequence!r}' on the screen")
                    good = False
            # A smaller terminal still shows where the cursor is, and the rest again when it grows.
            terminal.run("resize-window", "-t", "t", "-x", "40", "-y", "12")
            terminal.keys("z")
            good &= terminal.wait("2C7A", 10)
            terminal.run("resize-window", "-t", "t", "-x", "100", "-y", "30")
            good &= terminal.wait("type:", 10)
            terminal.keys("G")
            good &= terminal.wait("640 x 400 Graphic mode", 10)
            terminal.keys("x")
            good &= terminal.wait("type:", 10)
            # The monitor beside it.
            terminal.keys("M-2")
            good &= terminal.wait("(qemu)", 30)
            terminal.keys("info status", "BSpace", "s", "Enter")
            good &= terminal.wait("VM status: running", 30)
            terminal.keys("Up")
            good &= terminal.wait("(qemu) info status\n\n", 30)
            terminal.keys("M-1")
            good &= terminal.wait("type:", 30)
            subprocess.run([sys.executable, "-c", "import socket,sys,time; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
                            "s.recv(4096); s.send(b'{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}'); time.sleep(1)",
                            f"{folder}/qmp"], check=True)
            good &= terminal.wait("status 0", 10)
            terminal.keys("stty -a | grep -q ' echo ' && echo echo''es", "Enter")
            good &= terminal.wait("echoes", 10)
            for kind, reason in {"dumb": "cannot place its cursor", "nonesuch": "is not known to terminfo"}.items():
                terminal.keys(f"clear; TERM={kind} {VMM} -S -curses; echo status $?", "Enter")
                good &= terminal.wait(f"'{kind}' {reason}", 10) and terminal.wait("status 1", 10)
        finally:
            terminal.close()
    status = subprocess.run([VMM, "-display", "curses"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if status.returncode != 1 or "-display curses: standard input and output are no terminal" not in status.stderr:
        print("FAILED: without a terminal:", status)
        good = False
    print("ok" if good else "FAILED")
    return 0 if good else 1


sys.exit(main())
