#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Trays and media of CD-ROM drives, by monitor, in xuni-vmm and in the distribution's qemu: the same replies and events."""
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import vmm

HUMAN = ["info block", "eject ide1-cd0", "info block ide1-cd0", "change ide1-cd0 {iso}", "info block ide1-cd0", "change ide1-cd0 {iso}.not",
         "eject ide0-hd0", "eject nope", "change ide1-cd0 {iso} raw read-only", "change ide1-cd0 {iso} raw foo", "eject -f ide1-cd0",
         "eject c1", "change c1 {iso} raw", "info block dd", "help eject", "quit"]
C1 = {"id": "c1"}
QMP = [("qmp_capabilities", {}), ("blockdev-open-tray", C1), ("query-block", {}), ("blockdev-remove-medium", C1),
       ("blockdev-insert-medium", {"id": "c1", "node-name": "n1"}), ("blockdev-insert-medium", {"id": "c1", "node-name": "n1"}),
       ("blockdev-insert-medium", {"id": "c1", "node-name": "n9"}), ("blockdev-close-tray", C1), ("blockdev-remove-medium", C1), ("query-block", {}),
       ("eject", {}), ("blockdev-change-medium", {"id": "c1", "filename": "{iso}", "read-only-mode": "read-only"}),
       ("blockdev-change-medium", {"id": "c1", "filename": "{iso}.not"}), ("eject", {"device": "x"}), ("eject", {"device": "ide0-hd0"}), ("eject", C1),
       ("query-block", {}), ("quit", {})]


def plain(text):
    return re.sub(r"#block\d+", "#block", re.sub(r"/machine/[^ \"]*", "PATH", text))


def command(program, folder, *extra):
    accel = "tcg" if "qemu" in program else vmm.ACCEL
    return [program, "-accel", accel, "-m", "32", "-display", "none", "-nodefaults", "-S",
            "-drive", f"file={folder}/disk,format=raw", "-cdrom", f"{folder}/iso",
            "-blockdev", f"driver=file,node-name=n1,filename={folder}/iso,read-only=on",
            "-drive", "if=none,id=dd", "-device", "ide-cd,id=c1,drive=dd", *extra]


def human(program, folder):
    lines = "".join(line.format(iso=f"{folder}/iso") + "\n" for line in HUMAN)
    text = subprocess.run(command(program, folder, "-monitor", "stdio"), input=lines, capture_output=True, text=True,
                          timeout=vmm.PATIENCE).stdout
    # What is typed comes back, with the editing of each key; the first line names the program.
    return [plain(line) for line in text.replace("\r", "").split("\n")[1:] if line and not line.startswith("(")]


def machine(program, folder):
    lines = "".join(json.dumps({"execute": name, "arguments": arguments}).replace("{iso}", f"{folder}/iso") + "\n" for name, arguments in QMP)
    text = subprocess.run(command(program, folder, "-qmp", "stdio"), input=lines, capture_output=True, text=True, timeout=vmm.PATIENCE).stdout
    replies = [json.loads(line) for line in plain(text).splitlines()]
    for reply in replies:
        reply.pop("timestamp", None)
    # The last reply and the event of the end overtake each other.
    return [reply for reply in replies if "QMP" not in reply and reply.get("event") != "SHUTDOWN"]


def main():
    if not shutil.which("qemu-system-x86_64"):
        vmm.skip("no qemu-system-x86_64 to compare with")
    checks = vmm.Checks()
    with tempfile.TemporaryDirectory(prefix="xuni-media-") as folder:
        for name in ("disk", "iso"):
            (pathlib.Path(folder) / name).write_bytes(bytes(4 << 20))
        checks.same(human(vmm.VMM, folder), human("qemu-system-x86_64", folder), "the same text for people")
        ours, theirs = machine(vmm.VMM, folder), machine("qemu-system-x86_64", folder)
        checks.holds(len(ours) == len(theirs), "as many replies and events")
        for mine, wanted in zip(ours, theirs):
            checks.same(mine, wanted, json.dumps(wanted)[:100])
    checks.end()


main()
