#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys and movements from the monitor to Linux' evdev, through the PS/2 devices and through virtio-input: linux_test.py ENGINE
DEVICES PROGRAM. PROGRAM (input_report.c) prints in the guest what its kernel reports. With ENGINE "qemu" the same script runs
against the distribution's qemu and in translate, and both kernels must report the same."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "boot"))
from machine import GUEST, PATIENCE, VMM, Checks, Workspace, connect, engine_or_skip, skip  # noqa: E402

VIRTIO = ["-device", "virtio-keyboard-pci", "-device", "virtio-mouse-pci", "-device", "virtio-tablet-pci"]
KEY_NAMES = ("esc 1 0 minus equal backspace tab q bracket_left bracket_right ret ctrl a apostrophe grave_accent shift backslash z comma "
             "slash shift_r kp_multiply alt spc caps_lock f1 f10 num_lock scroll_lock kp_7 kp_subtract kp_add kp_0 kp_decimal less f11 "
             "kp_enter ctrl_r kp_divide print alt_r pause home up pgup left right end down pgdn insert delete meta_l meta_r compose "
             "power wake audionext audiomute volumeup mail calculator ac_home ro henkan muhenkan yen hiragana").split()


def rel(x, y):
    return {"events": [{"type": "rel", "data": {"axis": a, "value": v}} for a, v in (("x", x), ("y", y)) if v]}


def absolute(x, y):
    return {"events": [{"type": "abs", "data": {"axis": a, "value": v}} for a, v in (("x", x), ("y", y))]}


def button(name, down):
    return {"events": [{"type": "btn", "data": {"down": down, "button": name}}]}


def key(name, down):
    return {"events": [{"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": name}}}]}


def script(virtio):
    """(request, how many reports it makes at least)."""
    for name in KEY_NAMES:
        yield ("input-send-event", key(name, True)), 1
        yield ("input-send-event", key(name, False)), 0
    for line in ("sendkey ctrl-alt-x", "sendkey shift-a", "sendkey 0x1e", "sendkey <"):
        yield ("human-monitor-command", {"command-line": line}), 2
    pointers = [rel(3, 4)]
    if virtio:
        pointers = [absolute(0, 0x7fff), absolute(0x4000, 100)]
    else:
        pointers = [rel(5, 0), rel(-3, 200), rel(0, -100)]
    for request in pointers:
        yield ("input-send-event", request), 1
    for name in ("left", "right", "middle", "side", "extra"):
        yield ("input-send-event", button(name, True)), 1
        yield ("input-send-event", button(name, False)), 1
    for name in ("wheel-up", "wheel-down"):
        yield ("input-send-event", button(name, True)), 1
        yield ("input-send-event", button(name, False)), 0
    for state in (1, 0, 2, 0, 4, 0):
        yield ("human-monitor-command", {"command-line": f"mouse_button {state}"}), 1
    if not virtio:
        yield ("human-monitor-command", {"command-line": "mouse_move -7 9 1"}), 1


class Session:
    def __init__(self, command, path):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.timer = threading.Timer(150 * PATIENCE, self.process.kill)
        self.timer.start()
        self.lines = []
        self.more = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        self.path = path

    def read(self):
        for line in self.process.stdout:
            with self.more:
                self.lines.append(line.decode(errors="replace").rstrip())
                self.more.notify_all()
        with self.more:
            self.lines.append("(end)")
            self.more.notify_all()

    def until(self, condition, what, patience=100):
        with self.more:
            if not self.more.wait_for(lambda: condition(self.lines) or self.lines[-1:] == ["(end)"], patience * PATIENCE):
                return False
            return condition(self.lines)

    def connect(self):
        self.socket = connect(self.path)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.call("qmp_capabilities", {})

    def call(self, name, arguments):
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            reply = json.loads(self.file.readline())
            if "event" not in reply:
                return reply

    def reports(self):
        return [line for line in self.lines if line.startswith("events ")]

    def end(self):
        self.timer.cancel()
        self.process.kill()
        self.process.wait()


def run(work, checks, who, command, virtio):
    """What the guest reported: {device's name: [events]}."""
    path = work.path / f"{who}.qmp"
    session = Session(command + ["-qmp", f"unix:{path},server=on,wait=off"], path)
    try:
        session.connect()
        ready = session.until(lambda lines: "input ready" in lines, "the guest")
        checks.holds(ready, f"{who}: the guest is ready")
        if not ready:
            print("\n".join(session.lines[-40:]))
            return {}
        mice = session.call("query-mice", {})["return"]
        for (name, arguments), reports in script(virtio):
            before = len(session.reports())
            reply = session.call(name, arguments)
            if "return" not in reply:
                checks.holds(False, f"{who}: {name} {json.dumps(arguments)}: {reply}")
            # Bare releases come with or without a report of their own; whatever comes next waits for them.
            if reports and not session.until(lambda lines: len(session.reports()) >= before + reports, "a report", 5):
                checks.holds(False, f"{who}: {name} {json.dumps(arguments)}: the guest reports nothing")
            time.sleep(0.02)
        session.call("send-key", {"keys": [{"type": "qcode", "data": "f12"}]})
        checks.holds(session.until(lambda lines: "input done" in lines, "the end", 20), f"{who}: the guest's program ends by F12")
        names = dict(m.groups() for m in (re.search(r"device (\d+) (.*)", line) for line in session.lines) if m)
        events = {name: [] for name in names.values()}
        for line in session.reports():
            number, rest = re.match(r"events (\d+) ?(.*)", line).groups()
            events[names[number]] += rest.split()
        events["mice"] = mice
        return events
    finally:
        session.end()


def comparable(events):
    """Keys in their order, and how far each axis went in all: large steps may come in several."""
    if events and isinstance(events[0], dict):
        return sorted(json.dumps(row, sort_keys=True) for row in events)
    far = {}
    for event in events:
        match = re.match(r"rel:(\d+)=(-?\d+)", event)
        if match:
            far.setdefault((match[1], match[2].startswith("-")), 0)
            far[(match[1], match[2].startswith("-"))] += int(match[2])
    return [event for event in events if not event.startswith("rel:")] + sorted(far.items())


# What each kernel must have seen, whatever qemu does.
EXPECTED = {
    "AT Translated Set 2 keyboard": ["key:1=1", "key:1=0", "key:97=1", "key:99=1", "key:119=1", "key:119=0", "key:125=1", "key:115=1"],
    "ImExPS/2 Generic Explorer Mouse": ["rel:0=5", "rel:0=-3", "rel:1=200", "rel:1=-100", "key:272=1", "key:275=1", "key:276=0", "rel:8=1",
                                        "rel:8=-1", "rel:0=-7"],
    "QEMU Virtio Keyboard": ["key:1=1", "key:1=0", "key:97=1", "key:99=1", "key:119=1", "key:119=0", "key:125=1", "key:115=1"],
    "QEMU Virtio Tablet": ["abs:1=32767", "abs:0=16384", "abs:1=100", "key:272=1", "key:275=1", "key:276=0", "rel:8=1", "rel:8=-1"],
}


def main():
    engine, devices, program = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    virtio = devices == "virtio"
    engine_or_skip("translate" if engine == "qemu" else engine)
    guest = GUEST / "amd64"
    if not (guest / "vmlinuz").exists():
        skip("no guest with all drivers; make it with guests/make-guest .cache/guest/amd64 amd64")
    qemu = os.environ.get("XUNI_QEMU") or shutil.which("qemu-system-x86_64")
    if engine == "qemu" and not qemu:
        skip("qemu-system-x86_64 is not installed")
    checks = Checks()
    with Workspace(guest) as work:
        work.add("bin/input-report", program)
        extra = ["-no-reboot", "-display", "none", *(VIRTIO if virtio else [])]
        append = "quiet xuni=input-report"
        ours = run(work, checks, "xuni", work.command("translate" if engine == "qemu" else engine, append, *extra), virtio)
        for name, wanted in EXPECTED.items():
            if name.startswith("QEMU Virtio") != virtio:
                continue
            checks.holds(name in ours, f"the guest finds the {name}")
            for event in wanted:
                checks.holds(event in ours.get(name, []), f"{name}: {event}")
        for name, events in ours.items():
            if name != "mice":
                down = {}
                for event in events:
                    match = re.match(r"key:(\d+)=(\d)", event)
                    if match:
                        down[match[1]] = match[2]
                stuck = [code for code, value in down.items() if value != "0" and not (code == "88")]
                checks.holds(not stuck, f"{name}: no key is left pressed ({stuck})")
        if engine == "qemu":
            command = work.command("tcg", append, *extra)
            theirs = run(work, checks, "qemu", [qemu] + command[1:], virtio)
            for name in sorted(set(ours) | set(theirs)):
                same = comparable(ours.get(name, [])) == comparable(theirs.get(name, []))
                checks.holds(same, f"{name}: the same events as under qemu")
                if not same:
                    print(f"  xuni: {ours.get(name)}\n  qemu: {theirs.get(name)}")
    checks.end()


if __name__ == "__main__":
    main()
