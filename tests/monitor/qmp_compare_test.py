#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The same QMP session with xuni-vmm and the distribution's qemu: replies have the same fields, of the same types."""
import os
import re
import shutil

import vmm

# Fields of qemu's replies that say something of qemu's inside, and what is missing here and known to be.
ABSENT = {
    "query-blockstats": {"driver-specific"},
}
# Values that must be equal, not only of one type.
EQUAL = {"query-status", "query-name", "query-uuid", "query-memory-size-summary", "query-target", "query-iothreads", "query-memdev", "query-memory-devices"}
COMMANDS = ["query-status", "query-version", "query-cpus-fast", "query-kvm", "query-block", "query-blockstats", "query-chardev",
            "query-chardev-backends", "query-memory-size-summary", "query-name", "query-uuid", "query-commands", "query-target",
            "query-iothreads", "query-current-machine", "query-pci", "query-balloon", "query-memdev", "query-memory-devices", "query-hotpluggable-cpus",
            "query-rx-filter", "query-dump", "query-block-jobs", "query-jobs", "query-spice", "query-replay", "query-tpm", "query-sev", "query-yank",
            "x-query-usb", "x-query-rdma", "x-query-roms", "x-query-numa", "x-query-irq", "x-query-ramblock", "query-acpi-ospm-status"]
HUMAN = ["info status", "info name", "info uuid", "info kvm", "info memory_size_summary", "info balloon", "p 6*7", "p /x 0x10+1", "p 'a'",
         "p /c 'a'", "p /d 1-2", "p /o 8", "p 3", "p", "p 1+", "p (1", "p 1 2", "x /2xw 0x300000", "xp /3xh 0x300000",
         "xp /2xg 0x300000", "xp /4c 0x300000", "xp /9cb 0x300000", "xp /4db 0x300000", "xp /2o 0x300000", "xp /3ug 0x300000", "xp 0x300000",
         "x /z 0", "xp /2xw 0x7000000000", "gva2gpa 0x1000", "stop", "info status", "system_reset x", "balloon", "balloon x", "cpu 7",
         "nonsense", "info nonsense", "stop \"", "hostfwd_add", "info network", "hostfwd_remove tcp::2", "hostfwd_remove n0 tcp::2",
         "set_link n0 off", "set_link nic0 on", "set_link virtio-net-pci.1 off", "set_link virtio-net-pci.0 off", "info usernet", "hostfwd_remove", "set_link nope on", "set_link nope maybe",
         "info numa", "info memdev", "info memory-devices", "info irq x", "logfile", "logfile /nonexistent/x", "log", "boot_set x",
         "change nope", "change", "eject", "block_resize", "screendump", "memsave 0", "p $nope", "info registers 7",
         "sendkey", "watchdog_action", "info lapic 9", "info roms x", "cont x", "system_wakeup", "help stop", "help cpu",
         "info registers -x", "info mtree -x", "eject -x disk0", "sendkey a -1", "sendkey a 0x100000000", "mouse_button -1",
         "boot_set cc", "screendump /nonexistent -f foo", "p $cs.nope", "gpa2hva 0x7000000000", "gpa2hpa 0x7000000000", "x /2i 0x7000000000",
         "info spice", "info tpm", "info capture", "info usb", "info rdma", "info replay", "info block-jobs", "info sev", "info profile", "info dump",
         "dump-guest-memory", "dump-guest-memory -x /y", "dump-guest-memory /nonexistent/x", "dump-guest-memory /nonexistent/x 1",
         "help logfile", "help info irq", "help info memdev", "help info registers", "help change"]
BAD = ['{"execute":"foo"}', '{"execute":"stop","arguments":{"x":1}}', '{"exec":1}', '{"execute":1}', '[1]', '{}',
       '{"execute":"human-monitor-command"}', '{"execute":"human-monitor-command","arguments":{"command-line":3}}',
       '{"execute":"human-monitor-command","arguments":{"command-line":"info mice","cpu-index":9}}', '{"execute":"query-vm-generation-id"}',
       '{"execute":"memsave","arguments":{"val":0,"size":1,"filename":"/nonexistent/x","cpu-index":9}}',
       '{"execute":"stop","arguments":3}', '{"execute":"qmp_capabilities"}']


def shape(value, ignore):
    """Names and types, without values; a list by its first element."""
    if isinstance(value, dict):
        return {key: shape(inner, ignore) for key, inner in sorted(value.items()) if key not in ignore}
    if isinstance(value, list):
        return [shape(value[0], ignore)] if value else []
    return "number" if isinstance(value, int) and not isinstance(value, bool) else type(value).__name__


def session(folder, program):
    disk = folder.path / "disk"
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    command = folder.command("-S", "-display", "none", "-qmp", "stdio", "-name", "vm1", "-uuid", "12345678-1234-1234-1234-123456789abc",
                             "-smp", "2", "-serial", "null", "-drive", f"file={disk},format=raw,if=none,id=d0",
                             "-device", "virtio-blk-pci,drive=d0,id=disk0", "-device", "virtio-balloon-pci,id=b0", "-netdev", "user,id=n0",
                             "-device", "virtio-net-pci,netdev=n0,id=nic0,mac=52:54:00:12:34:57",
                             "-netdev", "user,id=n1", "-device", "virtio-net-pci,netdev=n1,mac=52:54:00:12:34:58", program=program)
    with vmm.QmpMachine(command) as machine:
        machine.qmp.call("qmp_capabilities")
        result = {name: machine.qmp.call(name) for name in COMMANDS}
        result.update({line: machine.qmp.human(line) for line in HUMAN})
        result["tree"] = machine.qmp.human("info qtree")
        result.update({line: machine.qmp.raw(line + "\n") for line in BAD})
        machine.qmp.call("cont")
        result["RESUME"] = machine.qmp.event("RESUME")
        machine.qmp.call("system_reset")
        result["RESET"] = machine.qmp.event("RESET")
        machine.qmp.call("stop")
        result["STOP"] = machine.qmp.event("STOP")
        machine.qmp.call("system_powerdown")
        machine.qmp.event("POWERDOWN")
        machine.qmp.call("cont")
        machine.qmp.events.clear()
        machine.quit()
        result["SHUTDOWN"] = machine.qmp.event("SHUTDOWN")
        result["events"] = [event["event"] for event in machine.qmp.events]
        return result


def pci_devices(tree):
    """Of info qtree: each PCI device with its place, class and ids. Which BARs virtio devices have is not the same (MSI-X, ROM)."""
    found = []
    for line in tree.replace("\r", "").splitlines():
        if re.match(r" {6}dev: ", line):
            found.append([line])
        elif re.match(r" {8}(class [A-Z]|addr )", line):
            found[-1].append(line)
    return sorted(found)


def main():
    qemu = os.environ.get("XUNI_QEMU") or shutil.which("qemu-system-x86_64")
    if not qemu:
        vmm.skip("qemu-system-x86_64 is not installed")
    checks = vmm.Checks()
    with vmm.Folder() as folder:
        ours, theirs = session(folder, vmm.VMM), session(folder, qemu)
    for name in COMMANDS + ["RESUME", "RESET", "STOP", "SHUTDOWN"]:
        ignore = ABSENT.get(name, set())
        checks.same(shape(ours[name], ignore), shape(theirs[name], ignore), name)
        if name in EQUAL:
            checks.same(ours[name], theirs[name], f"{name}, values")
    for name in ("RESET", "SHUTDOWN"):
        checks.same(ours[name]["data"], theirs[name]["data"], f"{name}, values")
    checks.same(ours["events"], theirs["events"], "events before SHUTDOWN at quit")
    for line in HUMAN + BAD:
        checks.same(ours[line], theirs[line], line)
    checks.same(pci_devices(ours["tree"]), pci_devices(theirs["tree"]), "info qtree, PCI devices")
    for line in ["bus: main-system-bus", "    bus: pci.0", "        bus: isa.0", "          dev: isa-serial, id \"\""]:
        checks.holds(line + "\r\n" in ours["tree"] and line + "\r\n" in theirs["tree"], f"info qtree: {line.strip()}")
    checks.end()


if __name__ == "__main__":
    main()
