#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's gdb and a client of our own on the server: gdb_test.py ENGINE ELF SYMBOLS.

gdb's script runs on qemu's server, too, and must say the same there; the guest (tests/guest/gdb.c) sums up its code, so
that breakpoints that are patched in would show.
"""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ENGINE, ELF, SYMBOLS = sys.argv[1:4]
VMM = os.environ.get("XUNI_VMM", "build/xuni-vmm")
PATIENCE = 40 * float(os.environ.get("XUNI_PATIENCE", "1"))
PASSED_STATUS = 33

# Threads that do not report stand anywhere, so only the reporting one's lines are compared.
SCRIPT = r"""
set pagination off
set confirm off
set width 0
set architecture i386:x86-64
symbol-file SYMBOLS
target remote SOCKET
echo --- real mode: the second processor's first instructions\n
break *0x8001
continue
p/x $cs
p/x $cr0 & 1
stepi
p $pc
stepi
p $pc
delete
echo --- long mode\n
break *tick
continue
p $rdi
p/x $cs
p/x $efer
p/x $cr0
p $eflags & 0x200
x/3i $pc
monitor info mem
monitor gva2gpa 0x100070
monitor sum 0x100000 4096
finish
continue
stepi
stepi
x/i $pc
break *leaf if $rdi == 3
delete 2
continue
p $rdi
delete
hbreak *leaf
continue
p $rdi
delete
echo --- watch\n
watch *(unsigned long *)&counter
continue
continue
delete
watch *(unsigned long *)((char *)&table + 8)
continue
info symbol $pc
delete
READWATCH
awatch *(unsigned long *)&looked_at
continue
info symbol $pc
continue
info symbol $pc
delete
echo --- registers\n
p/x $fs_base
set $xmm0.v4_int32[1] = 7
p $xmm0.v4_int32
p $mxcsr
p $st0
p $fctrl
set $rbx = 0x1234567812345678
p/x $rbx
p/x $cr3
p/x $k_gs_base
info registers rip cr4 cr8
echo --- memory\n
set var *(unsigned long *)&rounds_of_other = 1000000
p *(unsigned long *)&rounds_of_other >= 1000000
x/2xg &code_sum
maint packet m8000000000,4
maint packet qqemu.PhyMemMode
maint packet Qqemu.PhyMemMode:1
x/2xb 0x8000
maint packet Qqemu.PhyMemMode:0
maint packet qqemu.sstepbits
maint packet qqemu.sstep
maint packet vCont?
maint packet qAttached
echo --- threads\n
break *other_round
continue
thread 2
stepi
stepi
delete
detach
"""
READWATCH = r"""
rwatch *(unsigned long *)((char *)&table + 16)
continue
info symbol $pc
delete
"""


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


class Checks:
    failed = 0

    def holds(self, condition, what, more=""):
        print(("ok      " if condition else "FAILED  ") + what + ("" if condition else f" {more}"), flush=True)
        self.failed += not condition

    def same(self, got, wanted, what):
        self.holds(got == wanted, what, f": {got!r}, not {wanted!r}")


def listens(path):
    """Its file is there a moment before the server listens (proc(5), /proc/net/unix: flags of SO_ACCEPTCON)."""
    rows = pathlib.Path("/proc/net/unix").read_text().splitlines()
    return any(row.endswith(" " + str(path)) and row.split()[3] == "00010000" for row in rows)


class Guest:
    """The machine with the guest, standing still, and its server at a unix socket."""

    def __init__(self, folder, peer, extra=()):
        self.log, self.socket = folder / "log", folder / "gdb"
        for path in (self.log, self.socket):
            path.unlink(missing_ok=True)
        command = ["qemu-system-x86_64" if peer else VMM, "-accel", "tcg" if peer else ENGINE, "-S", "-gdb",
                   f"unix:{self.socket}" + (",server=on,wait=off" if peer else ""), "-nodefaults", "-display", "none",
                   "-vga", "none", "-m", "64", "-cpu", "max", "-smp", "2", "-no-reboot", "-kernel", ELF, "-device",
                   "isa-debug-exit,iobase=0xf4,iosize=0x4", "-chardev", f"file,id=log,path={self.log}", "-device",
                   "isa-debugcon,iobase=0xe9,chardev=log", *extra]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def status(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self):
        end = time.monotonic() + PATIENCE
        while not listens(self.socket) and time.monotonic() < end and self.process.poll() is None:
            time.sleep(0.02)
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def run_gdb(folder, peer):
    script = folder / "script"
    with Guest(folder, peer) as guest:
        text = SCRIPT.replace("SYMBOLS", SYMBOLS).replace("SOCKET", str(guest.socket))
        # x86's debug registers, which KVM uses, do not know reads alone.
        script.write_text(text.replace("READWATCH", "" if hardware_kvm() else READWATCH))
        done = subprocess.run(["gdb", "-nx", "-batch", "-x", str(script)], capture_output=True, text=True, timeout=PATIENCE)
        status = guest.status()
    return done.stdout + done.stderr, status, guest.log.read_text()


def hardware_kvm():
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return ENGINE == "kvm" and ("vmx" in flags or "svm" in flags)


def compared(text):
    # Where the CPUs are when gdb comes is the boot protocol's; a CPU that steps in real mode is without names.
    text = text[text.index("--- real mode"):]
    return [line for line in text.splitlines() if line.strip()]


def gdb_script(checks, folder):
    ours, status, log = run_gdb(folder, False)
    checks.same(status, PASSED_STATUS, "the guest goes on after the detach and passes")
    checks.holds("FAILED" not in log and "ok code is as it was" in log, "its code was not patched", log)
    if not shutil.which("qemu-system-x86_64"):
        print("no qemu-system-x86_64: not compared with it")
        checks.holds("hit Breakpoint 2" in ours and "Error" not in ours, "the script runs", ours)
        return
    theirs, status, peer_log = run_gdb(folder, True)
    mine, wanted = compared(ours), compared(theirs)
    for line in range(max(len(mine), len(wanted))):
        got = mine[line] if line < len(mine) else None
        want = wanted[line] if line < len(wanted) else None
        if got != want:
            checks.same(got, want, f"line {line} of gdb's output is qemu's")
            print("--- ours:\n" + ours + "\n--- qemu's:\n" + theirs)
            return
    checks.holds(len(mine) > 100, f"{len(mine)} lines of gdb's output are those on qemu")
    checks.same(log, peer_log, "so is what the guest says, its sum of its code included")


# What qemu's server has not: the description of the mode that the CPU is in, so that gdb knows 16-bit code.
MODES = r"""
set pagination off
set confirm off
set width 0
target remote SOCKET
break *0x8001
continue
maint packet Qxuni.Description:mode
unset tdesc filename
show architecture
x/i $cs * 16 + $eip
p $ax
info registers eip
maint packet Qxuni.Description:cpu
unset tdesc filename
show architecture
delete
symbol-file SYMBOLS
break *tick
continue
monitor dump-guest-memory CORE
dump binary memory CORE.part 0x100000 0x103001
monitor pmemsave 0x100000 0x3001 "CORE.whole"
p/x $rsp
kill
"""
DUMP = ["info threads", "p/x $rsp", "x/i $pc", "x/2xb 0x8000"]


def modes(checks, folder):
    script = folder / "script"
    with Guest(folder, False) as guest:
        script.write_text(MODES.replace("SOCKET", str(guest.socket)).replace("SYMBOLS", SYMBOLS).replace("CORE", str(folder / "core")))
        done = subprocess.run(["gdb", "-nx", "-batch", "-x", str(script)], capture_output=True, text=True, timeout=PATIENCE)
        status = guest.status()
    said = done.stdout + done.stderr
    checks.holds(re.search(r'currently "i8086"\).*\n   0x8001:\s+xor +%ax,%ax\n\$1 = 0\neip +0x1 ', said, re.S), "gdb knows 16-bit code", said)
    checks.holds('(currently "i386:x86-64")' in said, "and the CPU again", said)
    checks.same(status, 0, "kill ends the machine")
    checks.same((folder / "core.part").read_bytes(), (folder / "core.whole").read_bytes(), "gdb dumps memory in several packets")
    done = subprocess.run(["gdb", "-nx", "-batch", SYMBOLS, str(folder / "core"), *(part for line in DUMP for part in ("-ex", line))],
                          capture_output=True, text=True, timeout=PATIENCE)
    rsp = re.findall(r"^\$\d+ = (0x[0-9a-f]+)$", said, re.M)[-1:]
    checks.holds(f"= {rsp[0] if rsp else None}\n" in done.stdout and len(re.findall(r"\bLWP [12]\b.* in |\bLWP [12]  ", done.stdout)) >= 2 and
                 "=> 0x100070 <tick>:" in done.stdout and "0x8000:\t0xfa\t0x31" in done.stdout, "gdb reads the machine's core file",
                 done.stdout + done.stderr + said)


class Client:
    """The protocol, by hand."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.acks, self.buffer = True, b""

    def send(self, text):
        text = text.encode("latin1") if isinstance(text, str) else text
        self.socket.sendall(b"$" + text + b"#%02x" % (sum(text) & 255))

    def byte(self):
        while not self.buffer:
            self.buffer = self.socket.recv(65536)
            if not self.buffer:
                raise EOFError
        byte, self.buffer = self.buffer[:1], self.buffer[1:]
        return byte

    def answer(self):
        while self.byte() != b"$":
            pass
        text = b""
        while (byte := self.byte()) != b"#":
            text += bytes([self.byte()[0] ^ 0x20]) if byte == b"}" else byte
        self.byte(), self.byte()
        if self.acks:
            self.socket.sendall(b"+")
        return text.decode("latin1")

    def ask(self, text):
        self.send(text)
        return self.answer()


def by_hand(checks, folder):
    with Guest(folder, False, ["-monitor", f"unix:{folder}/hmp,server=on,wait=off"]) as guest:
        client = Client(guest.socket)
        checks.holds("qXfer:features:read+" in client.ask("qSupported:swbreak+"), "qSupported")
        checks.same(client.ask("?"), "T05thread:01;", "? without multiprocess")
        client.socket.sendall(b"$g#00")
        checks.same(client.byte(), b"-", "a wrong checksum is refused")
        client.socket.sendall(b"-")
        checks.same(client.answer(), "T05thread:01;", "the last answer is sent again")
        for packet, wanted in {"Z9,0,1": "", "vMustReplyEmpty": "", "Hg7": "E22", "T3": "E22", "T2": "OK", "pffff": "E14",
                               "P0=zz": "E22", "P": "E22", "m0": "E22", "m0,ffffffffffffffff": "E22", "mfffffffffffff000,8": "E14",
                               "M0,4:00": "E22", "X0,4:ab": "E22", "Z0,,": "E22", "z0,1234,1": "E02", "vCont;x": "E22",
                               "vCont;s:9": "E22", "Hg": "E22", "qThreadExtraInfo,": "E22", "qRcmd,": "OK", "c1": "E22",
                               "qCRC:100000,4": "", "qC": "QC01", "qThreadExtraInfo,1": b"CPU#0 [running]".hex(), "qThreadExtraInfo,2": b"CPU#1 [halted ]".hex(),
                               "qXfer:features:read:other.xml:0,10": "E00", "qXfer:features:read:target.xml:ffffff,1": "E22",
                               "X500,3:a}\x03b".replace("}\x03", "}\x5d"): "OK", "m500,3": "617d62",
                               "A" * 0x5000: "E22"}.items():
            checks.same(client.ask(packet), wanted, f"packet {packet[:40]!r}")
        most = int(re.search("PacketSize=([0-9a-f]+)", client.ask("qSupported"))[1], 16)
        checks.same(len(client.ask(f"m100000,{most // 2:x}")), most, "memory that fills a packet")
        rip = int.from_bytes(bytes.fromhex(client.ask("p10")), "little")
        checks.same(rip, entry_of(ELF), "RIP is the entry")
        # cr0.PE, which no debugger may change alone
        number = register_number(client, "cr0")
        before = client.ask(f"p{number:x}")
        checks.same(client.ask(f"P{number:x}=0000000000000000"), "OK", "CR0 is written")
        after = int.from_bytes(bytes.fromhex(client.ask(f"p{number:x}")), "little")
        checks.same(after & 0x80000001, int.from_bytes(bytes.fromhex(before), "little") & 0x80000001, "but PE and PG are kept")
        checks.same(client.ask(f"P{number:x}={before}"), "OK", "and the rest put back")
        described(checks, client)
        segments(checks, client)
        checks.same(client.ask("QStartNoAckMode"), "OK", "no acks")
        client.acks = False
        client.send("qRcmd," + b"info status".hex())
        said = ""
        while (part := client.answer()) != "OK":
            said += bytes.fromhex(part[1:]).decode()
        checks.same(said, "VM status: paused (prelaunch)\n", "a line of the monitor")
        checks.same(monitor(client, "cpu 1"), "", "the monitor's cpu")
        checks.holds(monitor(client, "info registers").startswith("\nCPU#1\n"), "stays chosen")
        checks.same(client.ask("Hg2") + client.ask("Hg1") + monitor(client, "p 0"), "OKOK0\n", "until another thread is")
        checks.same(monitor(client, "cpu 0"), "", "the first one")
        said = monitor(client, "info lapic")
        checks.holds("LVT0" in said or "kernel's" in said, "info lapic")
        said = monitor(client, "info pic")
        checks.holds(said.count("pin ") == 24 and "irq_base" in said or "kernel's" in said, "info pic")
        checks.same(monitor(client, "info tlb"), "PG disabled\n", "info tlb")
        checks.holds(re.match(r"Host virtual address for 0x1000 \(pc.ram\) is 0x[0-9a-f]+000\n", monitor(client, "gpa2hva 0x1000")), "gpa2hva")
        client.send("vCont;s:1")
        checks.same(client.answer(), "T05thread:01;", "a step")
        rip = int.from_bytes(bytes.fromhex(client.ask("p10")), "little")
        checks.same(client.ask(f"M{rip:x},2:ebfe"), "OK", "a jump to itself is written")
        client.send("c")
        client.socket.sendall(b"\x03")
        checks.same(client.answer(), "T02thread:01;", "it is interrupted there")
        checks.same(client.ask("p10"), rip.to_bytes(8, "little").hex(), "at the jump")
        hmp = socket.socket(socket.AF_UNIX)
        hmp.settimeout(PATIENCE)
        hmp.connect(f"{folder}/hmp")
        hmp.sendall(b"gdbserver none\n")
        said = b""
        while b"Disabled gdbserver" not in said:
            said += hmp.recv(4096)
        checks.same(client.socket.recv(1), b"", "gdbserver none ends the session")
        again = folder / "again"
        hmp.sendall(f"gdbserver unix:{again}\n".encode())
        said = b""
        while b"Waiting for gdb connection on device" not in said:
            said += hmp.recv(4096)
        client = Client(again)
        checks.same(client.ask("?"), "T05thread:01;", "and another server listens")
        client.send("k")
        checks.same(guest.status(), 0, "k ends the machine")


def description(client):
    xml = ""
    while True:
        part = client.ask(f"qXfer:features:read:target.xml:{len(xml):x},3ff")
        xml += part[1:]
        if part[0] == "l":
            return xml


def described(checks, client):
    wide = len(client.ask("g"))
    for name, architecture in {"i8086": "i8086", "i386": "i386", "mode": "i386", "i386:x86-64": "i386:x86-64", "cpu": "i386:x86-64"}.items():
        checks.same(client.ask("Qxuni.Description:" + name), "OK", f"description {name}")
        checks.same(client.ask("qxuni.Description"), name, "which can be asked for")
        checks.holds(f"<architecture>{architecture}</architecture>" in description(client), f"is {architecture}")
        checks.same(len(client.ask("g")) < wide, "64" not in architecture, "with its registers")
    checks.same(client.ask("Qxuni.Description:z80"), "E22", "no z80")


def segments(checks, client):
    """The guest's GDT has code and data of 32 bits at first; a selector is taken if its descriptor can be."""
    cs, ss, fs = (register_number(client, name) for name in ("cs", "ss", "fs"))
    code, stack, data = (client.ask(f"p{number:x}") for number in (cs, ss, fs))
    for number, selector, wanted in ((cs, "00000000", "E22"), (ss, "00000000", "E22"), (fs, "00000000", "OK"), (cs, stack, "E22"), (ss, code, "E22"),
                                     (fs, "f8ff0000", "E22"), (fs, stack, "OK"), (fs, data, "OK")):
        checks.same(client.ask(f"P{number:x}={selector}"), wanted, f"register {number} becomes {selector}")
    checks.same(client.ask(f"p{fs:x}"), data, "FS is as it was")


def monitor(client, line):
    client.send("qRcmd," + line.encode().hex())
    said = ""
    while (part := client.answer()) != "OK":
        said += bytes.fromhex(part[1:]).decode()
    return said


def entry_of(path):
    return int.from_bytes(pathlib.Path(path).read_bytes()[24:28], "little")


def register_number(client, name):
    return int(re.search(rf'<reg name="{name}"[^>]* regnum="(\d+)"', description(client)).group(1))


def firmware(checks, folder):
    """The reset vector becomes a jump to itself, which the CPU then executes: ROM is the guest's alone not to write."""
    path = folder / "rom"
    command = [VMM, "-accel", ENGINE, "-S", "-gdb", f"unix:{path}", "-nodefaults", "-display", "none", "-vga", "none", "-m", "64"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not listens(path) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None:
            print("no firmware: not patched")
            return
        client = Client(path)
        checks.same(client.ask("vCont;s:1"), "T05thread:01;", "the far jump of the reset vector")
        rip = client.ask("p10")
        linear = 0xf0000 + int.from_bytes(bytes.fromhex(rip), "little")
        checks.same(client.ask(f"M{linear:x},2:ebfe"), "OK", "ROM is written")
        checks.same(client.ask(f"m{linear:x},2"), "ebfe", "and read")
        checks.same((client.ask("vCont;s:1"), client.ask("vCont;s:1"), client.ask("p10")), ("T05thread:01;", "T05thread:01;", rip), "and executed")
        client.send("k")
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def main():
    if not shutil.which("gdb"):
        skip("gdb is not installed (tools/install-packages test)")
    if ENGINE == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        skip("engine kvm: /dev/kvm is missing or may not be opened")
    signal.alarm(int(PATIENCE * 3))
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="xuni-gdb-") as work:
        folder = pathlib.Path(work)
        by_hand(checks, folder)
        modes(checks, folder)
        firmware(checks, folder)
        gdb_script(checks, folder)
    sys.exit(1 if checks.failed else 0)


main()
