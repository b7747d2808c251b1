#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel on two CPUs under a debugger: interrupted, stepped, stopped at a breakpoint and at a watchpoint, and let go; it then
reports and powers off as if nothing had been. linux_test.py ENGINE."""
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))
from machine import PATIENCE, Checks, Workspace, connect, engine_or_skip  # noqa: E402

RSP, RIP = 7, 16


class Client:
    def __init__(self, path):
        self.socket = connect(path)
        self.buffer = b""

    def send(self, text):
        text = text.encode()
        self.socket.sendall(b"$" + text + b"#%02x" % (sum(text) & 255))

    def answer(self):
        while b"#" not in self.buffer or len(self.buffer) < self.buffer.index(b"#") + 3:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise EOFError
            self.buffer += chunk
        start, end = self.buffer.index(b"$") + 1, self.buffer.index(b"#")
        text, self.buffer = self.buffer[start:end].decode("latin1"), self.buffer[end + 3:]
        self.socket.sendall(b"+")
        return text

    def ask(self, text):
        self.send(text)
        return self.answer()

    def register(self, number):
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")


def main():
    engine = sys.argv[1]
    engine_or_skip(engine)
    checks = Checks()
    with Workspace() as work:
        path = work.path / "gdb"
        process = subprocess.Popen(work.command(engine, "quiet xuni=report", "-gdb", f"unix:{path}", "-smp", "2", "-no-reboot", "-S"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        gdb = Client(path)
        gdb.send("vCont;c")
        time.sleep(0.7)
        gdb.socket.sendall(b"\x03")
        checks.holds(gdb.answer() == "T02thread:01;", "interrupted")
        checks.holds(all(gdb.ask("vCont;s:1") == "T05thread:01;" for _ in range(20)), "20 steps")
        rip = gdb.register(RIP)
        checks.holds(rip >> 63 or rip < 1 << 33, f"CPU 0 is at {rip:#x}")
        # Where the kernel is now it comes again: a loop of its start, or its idle loop. If not, the breakpoint does no harm.
        gdb.ask(f"Z0,{rip:x},1")
        gdb.send("vCont;c")
        checks.holds(gdb.answer().startswith("T05thread:"), "a breakpoint where it stands")
        checks.holds(gdb.register(RIP) == rip, "is met before its instruction")
        checks.holds(gdb.ask(f"z0,{rip:x},1") == "OK", "and taken away")
        stack = gdb.register(RSP)
        gdb.ask(f"Z2,{stack - 8:x},8")
        gdb.send("vCont;c")
        checks.holds(f"watch:{stack - 8:x};" in gdb.answer(), "the stack below is written to")
        checks.holds(gdb.ask("D") == "OK", "detached")
        text = process.communicate(timeout=60 * PATIENCE)[0].decode(errors="replace")
        checks.holds(process.returncode == 0 and "report complete" in text, "the guest goes on to its end")
        for bad in ("WARNING", "BUG:", "Oops", "stall"):
            checks.holds(bad not in text, f"without {bad}")
        if checks.failed:
            print(text[-2000:])
    checks.end()


main()
