#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys and pointers through the monitor: the same words and requests, good and bad, get the same answers as from qemu. The
guest sees only scan codes here; what a kernel makes of them is tested in tests/display."""
import json
import os
import shutil

import vmm

A_KEY = {"type": "qcode", "data": "a"}


def key(**fields):
    return {"events": [{"type": "key", "data": fields}]}


def event(kind, **fields):
    return {"events": [{"type": kind, "data": fields}]}


STOPPED = [
    ("query-mice", {}),
    ("send-key", {"keys": [{"type": "qcode", "data": "foo"}]}),
    ("send-key", {"keys": [{"type": "qcode", "data": "a"}], "hold-time": 1}),
    ("send-key", {"keys": [{"type": "number", "data": 30}]}),
    ("send-key", {"keys": [{"type": "number", "data": "x"}]}),
    ("send-key", {"keys": [{"type": "numbr", "data": 30}]}),
    ("send-key", {"keys": [{"data": 30}]}),
    ("send-key", {"keys": [{"type": "qcode"}]}),
    ("send-key", {"keys": [5]}),
    ("send-key", {"keys": 5}),
    ("send-key", {}),
    ("send-key", {"keys": [{"type": "qcode", "data": "a", "x": 1}]}),
    ("input-send-event", key(down=True, key=A_KEY)),
    ("input-send-event", key(down=True, key={"type": "qcode", "data": "foo"})),
    ("input-send-event", key(key=A_KEY)),
    ("input-send-event", key(down=1, key=A_KEY)),
    ("input-send-event", key(down=True, key={"type": "qcode"})),
    ("input-send-event", event("btn", down=True, button="left")),
    ("input-send-event", event("btn", down=True, button="lefty")),
    ("input-send-event", event("rel", axis="x", value=5)),
    ("input-send-event", event("rel", axis="z", value=5)),
    ("input-send-event", event("abs", axis="y")),
    ("input-send-event", event("abs", axis="y", value=1, more=2)),
    ("input-send-event", event("bla", axis="y")),
    ("input-send-event", {"device": "nope", "events": []}),
    ("input-send-event", {}),
]
RUNNING = [
    ("send-key", {"keys": [A_KEY], "hold-time": -1}),
    ("send-key", {"keys": [{"type": "number", "data": 300}]}),
    ("input-send-event", event("abs", axis="y", value=5)),
    ("input-send-event", event("rel", axis="x", value=5)),
    ("input-send-event", key(down=True, key=A_KEY)),
    ("input-send-event", key(down=False, key={"type": "number", "data": 30})),
    ("input-send-event", event("btn", down=True, button="wheel-up")),
]
HUMAN = ["info mice", "mouse_set 1", "mouse_set 9", "mouse_set 2", "mouse_set", "mouse_move 3", "mouse_move 3 4", "mouse_move 3 4 1",
         "mouse_move x y", "mouse_button 1", "mouse_button", "sendkey a", "sendkey foo", "sendkey 0x1e", "sendkey ctrl-alt-", "sendkey <",
         "sendkey <-a", "sendkey 0x1e-0xzz", "sendkey a b", "sendkey a 1 2", "sendkey", "sendkey a--b", "sendkey 0x1ff",
         "help sendkey", "help mouse_set", "help mouse_move", "help info mice"]


def session(folder, program):
    with vmm.QmpMachine(folder.command("-S", "-display", "none", "-qmp", "stdio", program=program)) as machine:
        machine.qmp.call("qmp_capabilities")
        answers = [machine.qmp.raw(json.dumps({"execute": name, "arguments": arguments}) + "\n") for name, arguments in STOPPED]
        answers += [machine.qmp.human(line) for line in HUMAN]
        machine.qmp.call("cont")
        answers += [machine.qmp.raw(json.dumps({"execute": name, "arguments": arguments}) + "\n") for name, arguments in RUNNING]
        machine.quit()
        return answers


def main():
    qemu = os.environ.get("XUNI_QEMU") or shutil.which("qemu-system-x86_64")
    if not qemu:
        vmm.skip("qemu-system-x86_64 is not installed")
    checks = vmm.Checks()
    with vmm.Folder() as folder:
        ours, theirs = session(folder, vmm.VMM), session(folder, qemu)
    for what, mine, other in zip(STOPPED + HUMAN + RUNNING, ours, theirs):
        checks.same(mine, other, what if isinstance(what, str) else f"{what[0]} {json.dumps(what[1])}")
    checks.end()


if __name__ == "__main__":
    main()
