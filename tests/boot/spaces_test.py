#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux program that maps, unmaps, protects, moves and changes its own memory: spaces_test.py ENGINE CPUS THREADS.

The program (spaces_guest.c) checks each step itself. With engine translate its address space must have had a mirror, where
the host can have one.
"""
import os
import pathlib
import re
import sys

from machine import Checks, Workspace, connect, engine_or_skip

SECONDS = 6


def monitor(path, command):
    """The last command: the machine is stopped then."""
    with connect(path) as s:
        text = b""
        while not text.endswith(b"(qemu) "):
            text += s.recv(65536)
        s.sendall(command.encode() + b"\n")
        text = b""
        while not text.endswith(b"(qemu) "):
            text += s.recv(65536)
        s.sendall(b"quit\n")
    return text.decode(errors="replace")


def main():
    engine, cpus, threads = sys.argv[1:]
    engine_or_skip(engine)
    checks = Checks()
    told = []
    with Workspace() as work:
        work.add("bin/spaces-guest", pathlib.Path(os.environ["XUNI_SPACES_GUEST"]))
        path = work.path / "monitor"
        status, text = work.converse(engine, f"quiet xuni=test-spaces xuni.spaces={SECONDS},{threads}",
                                     [("spaces ", lambda: told.append(monitor(path, "info jit")))],
                                     "-smp", cpus, "-no-reboot", "-no-shutdown", "-monitor", f"unix:{path},server=on,wait=off")
    checks.holds(re.search(r"spaces ok \d+", text) is not None, "every page held and allowed what it should")
    if engine == "translate" and "fsgsbase" in pathlib.Path("/proc/cpuinfo").read_text():
        pages = re.search(r"mirrored pages +([0-9,]+)", told[0]) if told else None
        checks.holds(pages is not None and int(pages[1].replace(",", "")) > 100, "the program's address space had a mirror")
    checks.holds(status == 0, "exit status 0")
    if checks.failed:
        print(text[-3000:], *told)
    checks.end()


if __name__ == "__main__":
    main()
