#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP on a living machine: greeting, negotiation, errors, events, several monitors, clients that misbehave."""
import json
import os
import re
import struct
import time

import vmm


def errors(checks, qmp):
    cases = [
        ('{"execute":"foo","id":{"a":1}}', "CommandNotFound", "The command foo has not been found"),
        ('{"execute":"stop","arguments":{"x":1}}', "GenericError", "Parameter 'x' is unexpected"),
        ('{"exec":1}', "GenericError", "QMP input member 'exec' is unexpected"),
        ('{}', "GenericError", "QMP input lacks member 'execute'"),
        ('{"execute":1}', "GenericError", "QMP input member 'execute' must be a string"),
        ('{"execute":"stop","arguments":3}', "GenericError", "QMP input member 'arguments' must be an object"),
        ('[1]', "GenericError", "QMP input must be a JSON object"),
        ('{"execute":"human-monitor-command"}', "GenericError", "Parameter 'command-line' is missing"),
        ('{"execute":"human-monitor-command","arguments":{"command-line":3}}', "GenericError",
         "Invalid parameter type for 'command-line', expected: string"),
        ('{"execute":"qmp_capabilities"}', "CommandNotFound",
         "Capabilities negotiation is already complete, command ignored"),
    ]
    for text, kind, description in cases:
        reply = qmp.raw(text + "\n")
        checks.same(reply["error"], {"class": kind, "desc": description}, text)
        checks.same(reply.get("id"), {"a": 1} if "id" in text else None, "id of " + text)


def hostile(checks, qmp):
    """Whatever comes, there is one error for it and the next good request works."""
    cases = [
        b"nonsense\n", b"}\n", b"{]\n", b'{"execute": nope}\n', b'{"a":"\xff\xfe"}\n', b"\x00\x01\x02\n", b"]]]]\n",
        b"[" * 1000 + b"\n", b'{"execute":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}\n", b'{"execute":"x","execute":"y"}\n',
        b'"' + b"A" * 100 + b'"\n', b'{"execute":"' + b"A" * 100000 + b'"}\n', b"123 456\n",
    ]
    for case in cases:
        reply = qmp.raw(case)
        checks.holds("error" in reply, f"{case[:30]!r}... is refused")
        while True:
            reply = qmp.raw('{"execute":"query-status","id":"after"}\n')
            if reply.get("id") == "after":
                break
        checks.holds("return" in reply, "and the monitor goes on")
    qmp.send(b'{"execute":"' + b"A" * (5 << 20))
    checks.holds("error" in qmp.reply(), "a request of 5 MiB is refused")
    qmp.send('"}\n')
    while "return" not in qmp.raw('{"execute":"query-status"}\n'):
        pass


def events(checks, qmp):
    qmp.call("cont")
    event = qmp.event("RESUME")
    checks.holds(event["timestamp"]["seconds"] > 1e9 and 0 <= event["timestamp"]["microseconds"] < 1e6, "RESUME has a time stamp")
    checks.same(qmp.call("query-status")["return"], {"status": "running", "singlestep": False, "running": True}, "running")
    qmp.call("stop")
    qmp.event("STOP")
    checks.same(qmp.call("query-status")["return"]["status"], "paused", "paused")
    checks.same(qmp.human("info status"), "VM status: paused\r\n", "info status")
    qmp.call("cont")
    checks.same(qmp.human("info status"), "VM status: running\r\n", "info status")
    qmp.call("system_reset")
    checks.same(qmp.event("RESET")["data"], {"guest": False, "reason": "host-qmp-system-reset"}, "RESET")
    qmp.call("system_powerdown")
    qmp.event("POWERDOWN")


def several_in_a_packet(checks, qmp):
    qmp.send('{"execute":"query-name","id":1}{"execute":"query-uuid","id":2} {"execute":"query-name",\n"id":3}\n')
    checks.same([qmp.reply().get("id") for _ in range(3)], [1, 2, 3], "three requests in one packet")
    for byte in b'{"execute":"query-name","id":"slow"}':
        qmp.send(bytes([byte]))
    checks.same(qmp.reply(), {"return": {"name": "vm1"}, "id": "slow"}, "a request byte by byte")
    checks.same(qmp.raw("{'execute':'query-name','id':'it\\'s \"q\"'}\n").get("id"), "it's \"q\"", "single quotes")


def tables(checks, qmp):
    names = {row["name"] for row in qmp.call("query-commands")["return"]}
    schema = qmp.call("query-qmp-schema")["return"]
    checks.holds({"query-status", "stop", "cont", "quit", "human-monitor-command"} <= names, "query-commands")
    checks.same({row["name"] for row in schema if row["meta-type"] == "command"}, names, "query-qmp-schema has the same commands")
    known = {row["name"] for row in schema}
    checks.holds(all(row[key] in known for row in schema if row["meta-type"] == "command" for key in ("arg-type", "ret-type")),
                 "every type of the schema is in it")
    properties = [row["name"] for row in qmp.call("device-list-properties", typename="VGA")["return"]]
    checks.holds({"vgamem_mb", "addr", "rombar"} <= set(properties) and properties.count("romfile") == 1, "device-list-properties, with the bus'")
    shown = qmp.human("help")
    checks.holds("system_powerdown" in shown and "\r\n" in shown, "help")
    checks.holds("info registers [-a|vcpu]" in qmp.human("help info"), "help info")
    checks.holds("did you mean 'info status'" in qmp.human("info staus"), "a mistyped command")


def memory(checks, qmp, folder):
    qmp.call("stop")
    checks.same(qmp.human("xp /4xb 0x100020"), "0000000000100020: 0x66 0xba 0xf8 0x03\r\n", "xp")
    checks.same(qmp.human("xp /1xw 0x100000"), "0000000000100000: 0x1badb002\r\n", "xp /xw")
    checks.same([line[38:] for line in qmp.human("x /3i 0x100020").splitlines()],
                ["mov      $0x3f8, %dx", "mov      $0x68, %al", "out      %al, %dx"], "x /i")
    checks.holds(re.match(r"IRQ statistics for ioapic:\r\n( ?\d+: \d+\r\n)*IRQ statistics for isa-i8259:", qmp.human("info irq")), "info irq")
    checks.same(qmp.human("p /d 2*(3+4)-0x10/2"), "6\r\n", "expressions")
    checks.holds("Cannot access memory" in qmp.human("xp 0xfee00000"), "what is no RAM is not read")
    checks.holds("division by zero" in qmp.human("p 1/0"), "division by zero")
    checks.holds("nested too deeply" in qmp.human("p " + "(" * 500), "deep expressions")
    rip = int(qmp.human("p /x $rip").strip(), 16)
    checks.holds(0x100020 <= rip < 0x100060, f"$rip is in the guest's loop ({rip:#x})")
    checks.holds(f"EIP={rip:08x}" in qmp.human("info registers"), "info registers")
    checks.same(qmp.human("x /65536xg 0").count("\n"), 32768, "a long answer is whole")
    path = folder.path / "memory"
    reply = qmp.call("pmemsave", val=0x100000, size=32, filename=str(path))
    checks.same((reply, path.read_bytes()), ({"return": {}}, vmm.echo_kernel()[:32]), "pmemsave")
    checks.holds("error" in qmp.call("pmemsave", val=0, size=1, filename="/nonexistent/x"), "pmemsave into nowhere")
    dump(checks, folder, qmp)
    checks.holds("pci-config" in qmp.human("info mtree"), "info mtree")
    flat = qmp.human("info mtree -f -o")
    rows = [(int(first, 16), int(last, 16)) for first, last in re.findall("^  ([0-9a-f]{16})-([0-9a-f]{16}) ", flat[flat.index("FlatView #1"):], re.M)]
    checks.holds(rows and all(a[1] < b[0] for a, b in zip(rows, rows[1:])), "info mtree -f: ascending, nothing twice")
    checks.holds("owner:{dev " in flat, "info mtree -o")
    checks.holds("Physical sections" in qmp.human("info mtree -f -d"), "info mtree -d")
    checks.same(qmp.call("x-query-ramblock")["return"]["human-readable-text"].replace("\n", "\r\n"), qmp.human("info ramblock"), "info ramblock")
    checks.holds("pc.ram" in qmp.human("info ramblock"), "names main RAM")


def dump(checks, folder, qmp):
    """An ELF core file: of i386 while no CPU is in long mode (System V ABI, chapters 4 and 5). The 64-bit one is read by gdb in its test."""
    path = folder.path / "core"
    running = qmp.call("query-status")["return"]["running"]
    checks.same(qmp.call("dump-guest-memory", paging=False, protocol=f"file:{path}"), {"return": {}}, "dump-guest-memory")
    checks.same(qmp.event("DUMP_COMPLETED")["data"]["result"]["status"], "completed", "DUMP_COMPLETED")
    checks.same(qmp.call("query-status")["return"]["running"], running, "the machine goes on as it was")
    data = path.read_bytes()
    kind, machine, _, _, first, _, _, _, size, count = struct.unpack_from("<HHIIIIIHHH", data, 16)
    checks.same((data[:7], kind, machine, size), (b"\x7fELF\1\1\1", 4, 3, 32), "an ELF core file of i386")
    segments = [struct.unpack_from("<8I", data, first + i * size) for i in range(count)]
    (_, at, _, _, length, _, _, _), memory = segments[0], segments[1:]
    checks.same(segments[0][0], 4, "notes first")
    checks.holds(all(s[0] == 1 and s[1] + s[4] <= len(data) for s in memory) and segments[-1][1] + segments[-1][4] == len(data), "then memory")
    main = next(s for s in memory if s[3] <= 0x100000 < s[3] + s[4])
    checks.holds(data[main[1] + 0x100000 - main[3]:].startswith(vmm.echo_kernel()[:32]), "with the kernel at its place")
    checks.same(qmp.call("query-dump")["return"]["completed"], sum(s[4] for s in memory), "query-dump")
    name, bytes_, kind = struct.unpack_from("<III", data, at)
    checks.same((name, bytes_, kind, data[at + 12:at + 17]), (5, 144, 1, b"CORE\0"), "the first note is a CPU's")
    rip = struct.unpack_from("<I", data, at + 20 + 72 + 12 * 4)[0]
    checks.holds(0x100020 <= rip < 0x100060, f"which is in the guest's loop ({rip:#x})")
    small = folder.path / "small"
    checks.same(qmp.human(f"dump-guest-memory {small} 0x100000 0x1000"), "", "a part of memory")
    checks.same(small.read_bytes()[-0x1000:][:32], vmm.echo_kernel()[:32], "and no more")
    for arguments, error in (({"begin": 0}, "Parameter 'length' is missing"), ({"begin": 1 << 40, "length": 1}, "dump: no guest memory to dump"),
                             ({"begin": -1, "length": 2}, "Invalid parameter 'length'")):
        reply = qmp.call("dump-guest-memory", paging=False, protocol=f"file:{small}", **arguments)
        checks.same(reply.get("error", {}).get("desc"), error, f"dump-guest-memory with {arguments}")
    checks.same(qmp.human("info dump"), "Status: failed\r\n", "info dump")
    checks.holds("-z" in qmp.human(f"dump-guest-memory -z {small}"), "no compressed one")


def second_monitor(checks, folder, path):
    client = vmm.connect(path)
    qmp = vmm.Qmp(client.fileno(), client.fileno())
    checks.same(qmp.raw('{"execute":"query-status"}')["error"]["class"], "CommandNotFound", "nothing before negotiation")
    qmp.call("qmp_capabilities")
    checks.holds("running" in qmp.call("query-status")["return"], "the second monitor works")
    client.close()
    client = vmm.connect(path)
    qmp = vmm.Qmp(client.fileno(), client.fileno())
    checks.holds("QMP" in qmp.greeting, "a new client is greeted again")
    checks.same(qmp.raw('{"execute":"query-status"}')["error"]["class"], "CommandNotFound", "and negotiates again")
    qmp.send("{" * 100)
    client.close()


def main():
    checks = vmm.Checks()
    with vmm.Folder() as folder:
        other = folder.path / "q"
        command = folder.command("-S", "-display", "none", "-qmp", "stdio", "-name", "vm1", "-qmp", f"unix:{other},server=on,wait=off",
                                 "-chardev", "ringbuf,id=ring,size=4096", "-serial", "chardev:ring")
        with vmm.QmpMachine(command) as machine:
            qmp = machine.qmp
            checks.same(set(qmp.greeting["QMP"]), {"version", "capabilities"}, "greeting")
            checks.same(qmp.call("query-name")["error"]["desc"], "Expecting capabilities negotiation with 'qmp_capabilities'",
                        "negotiation comes first")
            checks.same(qmp.call("qmp_capabilities"), {"return": {}}, "negotiation")
            checks.same(qmp.call("query-status")["return"]["status"], "prelaunch", "-S")
            errors(checks, qmp)
            hostile(checks, qmp)
            several_in_a_packet(checks, qmp)
            tables(checks, qmp)
            events(checks, qmp)
            second_monitor(checks, folder, other)
            # The serial port hands on what the guest wrote a moment later: the first look may find a part.
            text, end = "", time.monotonic() + vmm.PATIENCE
            while "hi" not in text and time.monotonic() < end:
                text += qmp.human("ringbuf_read ring 100").replace("\r", "")
            checks.holds("hi" in text and not set(text) - set("hi\n"), f"ringbuf_read ({text[:20]!r})")
            memory(checks, qmp, folder)
            qmp.send('{"execute":"quit","id":9}\n')
            checks.same(qmp.reply(), {"return": {}, "id": 9}, "quit is answered")
            checks.same(qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-qmp-quit"}, "SHUTDOWN")
            checks.same(machine.process.wait(vmm.PATIENCE), 0, "exit status")
    checks.end()


if __name__ == "__main__":
    main()
