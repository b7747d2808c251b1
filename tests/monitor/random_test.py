#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Random lines and requests, many of them nonsense, on a machine with devices: each is answered, in one whole reply, and the machine lives.
random_test.py [SEED [REQUESTS]]: the same seed asks the same again."""
import json
import os
import random
import sys

import vmm

# What ends the machine or has it stand still is other tests' business; gdbserver listens on the network.
LEFT_OUT = {"quit", "q", "gdbserver", "system_powerdown", "system_reset", "stop", "s", "human-monitor-command", "qmp_capabilities"}
WORDS = ["", "0", "1", "-1", "0x100000", "0xffffffffffffffff", "99999999999999999999", "a", "foo", '"x y"', "d0", "nic0", "n0", "VGA", "vnc", "+5", "never",
         "on", "off", "-f", "-a", "-x", "-d", "-o", "/4xw", "/100xb", "/3i", "/65536xg", "$pc", "$cs.base", "$", "(((((1)", "1/0", "ctrl-alt-delete",
         "0x1e", "%s%n", "dcn", "tcp::0-:22", "none", "*", "\\", '"', '"\\z"', "/dev/null", "FOLDER/file", "FOLDER/nosuch/x", "A" * 300, "\u00e9"]
NUMBERS = [0, 1, -1, 4096, 0x100000, 2**63 - 1, -2**63]


def word(chance, folder):
    return chance.choice(WORDS).replace("FOLDER", str(folder.path / "r"))


def value(chance, folder, kind=None):
    kind = kind or chance.choice(["str", "int", "bool", "list", "object", "null", "real"])
    if kind == "int":
        return chance.choice(NUMBERS)
    if kind == "list":
        return [value(chance, folder) for _ in range(chance.randrange(3))]
    if kind == "object":
        return {chance.choice(["type", "data", "host", "port", "axis", "value", "down", "key"]): value(chance, folder) for _ in range(2)}
    return {"bool": chance.random() < 0.5, "null": None, "real": 1.5}.get(kind, word(chance, folder))


def request(chance, folder, commands):
    name = chance.choice(sorted(commands))
    arguments = {member["name"]: value(chance, folder, member["type"] if chance.random() < 0.8 else None)
                 for member in commands[name] if "default" not in member or chance.random() < 0.5}
    return json.dumps({"execute": name, "arguments": arguments})


def names_of(text, at):
    words = [line.split() for line in text.splitlines() if line and not line[0].isspace()]
    return sorted({row[at].split("|")[0] for row in words if len(row) > at and row[at].isascii()} - LEFT_OUT)


def main():
    checks = vmm.Checks()
    chance = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    with vmm.Folder() as folder:
        (folder.path / "r").mkdir()
        os.chdir(folder.path / "r")  # a word may become a file's name
        disk = folder.path / "disk"
        disk.write_bytes(bytes(1 << 20))
        command = folder.command("-smp", "2", "-display", "none", "-vga", "std", "-qmp", "stdio", "-drive", f"file={disk},format=raw,if=none,id=d0",
                                 "-device", "virtio-blk-pci,drive=d0", "-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0,id=nic0",
                                 "-device", "virtio-balloon-pci", "-device", "pvpanic", "-action", "panic=none,watchdog=none", "-chardev",
                                 "ringbuf,id=r0")
        with vmm.QmpMachine(command) as machine:
            qmp = machine.qmp
            qmp.call("qmp_capabilities")
            schema = {entity["name"]: entity for entity in qmp.call("query-qmp-schema")["return"]}
            commands = {name: schema.get(entity["arg-type"], {}).get("members", []) for name, entity in schema.items()
                        if entity["meta-type"] == "command" and name not in LEFT_OUT}
            human = names_of(qmp.human("help"), 0) + ["info " + name for name in names_of(qmp.human("help info"), 1)]
            last, count = "", int(sys.argv[2]) if len(sys.argv) > 2 else 400
            try:
                for _ in range(count):
                    if chance.random() < 0.4:
                        last = request(chance, folder, commands)
                        reply = qmp.raw(last + "\n")
                    else:
                        last = " ".join([chance.choice(human), *(word(chance, folder) for _ in range(chance.randrange(4)))])
                        reply = qmp.call("human-monitor-command", command_line=last)
                    if ("return" in reply) == ("error" in reply):
                        checks.holds(False, f"{last[:200]} is answered: {reply}")
                    qmp.events.clear()
            except (AssertionError, OSError, ValueError) as error:
                checks.holds(False, f"the machine lives after {last[:400]!r}: {error}")
            else:
                checks.same(qmp.call("query-name"), {"return": {}}, f"{count} requests are answered")
                checks.same(machine.quit(), 0, "exit status")
    checks.end()


if __name__ == "__main__":
    main()
