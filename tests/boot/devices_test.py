#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux' own drivers for the watchdog, pvpanic and vmgenid, and what the machine makes of what they do:
devices_test.py ENGINE watch|reset."""
import json
import re
import subprocess
import sys
import threading
import uuid

from machine import GUEST, PATIENCE, Checks, Workspace, connect, engine_or_skip, skip

GUID = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"


class Machine:
    def __init__(self, work, engine, append, *extra):
        path = work.path / "qmp"
        path.unlink(missing_ok=True)
        self.process = subprocess.Popen(work.command(engine, append, "-qmp", f"unix:{path},server=on,wait=off", *extra),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.timer = threading.Timer(60 * PATIENCE, self.process.kill)
        self.timer.start()
        self.text = b""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        self.socket = connect(path)
        self.lines = self.socket.makefile("r")
        self.events = []
        self.lines.readline()
        self.ask("qmp_capabilities")

    def read(self):
        while chunk := self.process.stdout.read1(4096):
            self.text += chunk

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.lines.readline())
            if "event" not in answer:
                return answer.get("return", answer.get("error"))
            self.events.append(answer)

    def event(self, name):
        """The next event of that name, or None at the end of the machine."""
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name:
                    del self.events[:index + 1]
                    return event.get("data")
            line = self.lines.readline()
            if not line:
                print("no event " + name + "; the guest said:\n" + self.text.decode(errors="replace")[-2500:])
                return None
            self.events.append(json.loads(line))

    def end(self):
        status = self.process.wait()
        self.reader.join()
        self.timer.cancel()
        return status, self.text.decode(errors="replace")


def watch(checks, work, engine):
    """The watchdog runs out twice, then Linux panics."""
    m = Machine(work, engine, "quiet panic=0 xuni=test-watch xuni_watch=2", "-device", "i6300esb", "-device", "pvpanic", "-device",
                f"vmgenid,guid={GUID}", "-action", "watchdog=pause,panic=pause", "-no-reboot")
    checks.holds(m.ask("query-vm-generation-id") == {"guid": GUID}, "query-vm-generation-id")
    checks.holds(m.event("WATCHDOG") == {"action": "pause"}, "the watchdog runs out: pause")
    checks.holds(m.ask("query-status")["status"] == "watchdog", "the machine stands still")
    dump = work.path / "page"
    m.ask("pmemsave", val=0xef028, size=16, filename=str(dump))
    checks.holds(dump.read_bytes() == uuid.UUID(GUID).bytes_le, "the generation ID is in guest memory")
    m.ask("watchdog-set-action", action="none")
    m.ask("human-monitor-command", **{"command-line": "watchdog_action inject-nmi"})
    m.ask("cont")
    checks.holds(m.event("WATCHDOG") == {"action": "inject-nmi"}, "again: NMI")
    checks.holds(m.event("GUEST_PANICKED") == {"action": "pause"}, "the panic is told")
    checks.holds(m.ask("query-status")["status"] == "guest-panicked", "the machine stands still")
    m.ask("quit")
    status, text = m.end()
    for wanted in (r"watchdog: i6300ESB timer", r"panic: QEMU0001", r"generation: (QEMUVGID|VM_GEN)", r"round 2: pinged for 2.5 s",
                   r"(NMI|nmi)", r"Kernel panic"):
        checks.holds(re.search(wanted, text) is not None, f"the guest says {wanted!r}")
    if checks.failed:
        print(text[-3000:])
    checks.holds(status == 0, "quit")


def reset(checks, work, engine):
    m = Machine(work, engine, "quiet panic=0 xuni=test-watch xuni_watch=1", "-device", "i6300esb", "-device", "pvpanic-pci",
                "-watchdog-action", "reset", "-no-reboot")
    checks.holds(m.event("WATCHDOG") == {"action": "reset"}, "the watchdog runs out: reset")
    status, text = m.end()
    checks.holds(status == 0 and "round 1: over" not in text, "and -no-reboot ends the machine")
    checks.holds("panic: 0000:00:" in text, "Linux finds pvpanic-pci")
    m = Machine(work, engine, "quiet panic=0 xuni=test-watch", "-device", "pvpanic-pci", "-action", "panic=exit-failure")
    checks.holds(m.event("GUEST_PANICKED") == {"action": "poweroff"}, "a panic through pvpanic-pci")
    status, text = m.end()
    checks.holds(status == 1, "ends the machine with status 1")
    if checks.failed:
        print(text[-3000:])


def main():
    engine, case = sys.argv[1:3]
    engine_or_skip(engine)
    if not (GUEST / "amd64/vmlinuz").exists():
        skip("no guest with all drivers; make it with guests/make-guest .cache/guest/amd64 amd64")
    checks = Checks()
    with Workspace(GUEST / "amd64") as work:
        {"watch": watch, "reset": reset}[case](checks, work, engine)
    checks.end()


main()
