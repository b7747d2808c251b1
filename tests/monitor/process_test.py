#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""xuni-vmm as a process: names it is called by, background, pid file, signals, exit status."""
import os
import pathlib
import shutil
import signal
import subprocess
import time

import vmm


def run(command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, timeout=vmm.PATIENCE, stdin=subprocess.DEVNULL, **kwargs)


def names(checks, folder):
    front = pathlib.Path(vmm.VMM).parent / "xuni"
    wanted = run([vmm.VMM, "-version"]).stdout
    checks.holds(wanted.startswith("xuni-vmm version "), "-version")
    checks.same(run([front, "run", "-version"]).stdout, wanted, "xuni run")
    for name in ("xuni-qemu", "qemu-system-x86_64"):
        for target in (front, vmm.VMM):
            link = folder.path / name
            link.unlink(missing_ok=True)
            link.symlink_to(pathlib.Path(target).resolve())
            checks.same(run([link, "-version"]).stdout, wanted, f"a link {name} to {pathlib.Path(target).name}")
    link.unlink()
    shutil.copy(vmm.VMM, link)
    checks.same(run([link, "-version"]).stdout, wanted, "a copy named qemu-system-x86_64")
    result = run([front, "rnu"])
    checks.same((result.returncode, result.stderr), (1, "xuni: 'rnu' is not a verb; did you mean 'run'?\n"), "an unknown verb")
    checks.same(run([front, "help"]).returncode, 0, "xuni help")
    checks.holds("-netdev type,id=str" in run([front, "help", "run"]).stdout, "xuni help run")
    for what in ("-help", "-machine help", "-cpu help", "-accel help", "-device help", "-device virtio-blk-pci,help", "-netdev help",
                 "-chardev help", "-object help", "-d help", "-trace help", "-display help", "-vga help", "-nic model=help"):
        result = run([vmm.VMM, *what.split()])
        checks.holds(result.returncode == 0 and len(result.stdout) > 4 and not result.stderr and "(null)" not in result.stdout, what)
    properties = run([vmm.VMM, "-device", "VGA,help"]).stdout
    checks.holds("  addr=<" in properties and "  rombar=<" in properties and properties.count("  romfile=<") == 1, "-device VGA,help: what the bus adds")
    checks.holds('name "floppy", bus floppy-bus' in run([vmm.VMM, "-device", "help"]).stdout, "-device help: floppy")
    for arguments, wanted in ((["-netdev", "user,id=n0"], "netdev n0 has no peer"), (["-net", "user"], "-net user has no peer"),
                              (["-net", "nic", "-net", "user"], None), (["-nic", "user"], None)):
        with subprocess.Popen([vmm.VMM, "-nodefaults", "-display", "none", "-S", *arguments, "-qmp", "stdio"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            errors = process.communicate('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n', timeout=vmm.PATIENCE)[1]
        checks.holds(wanted in errors if wanted else not errors, f"{' '.join(arguments)}: {errors.strip() or 'no warning'}")
    result = run([vmm.VMM, "-device", "virtio-blk-pic,help"])
    checks.holds(result.returncode == 1 and "did you mean 'virtio-blk-pci'" in result.stderr, "-device of an unknown name, help")


def signals(checks, folder):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with vmm.QmpMachine(folder.command("-display", "none", "-qmp", "stdio", "-pidfile", str(folder.path / "pid"))) as machine:
            machine.qmp.call("qmp_capabilities")
            checks.same(int((folder.path / "pid").read_text()), machine.process.pid, "-pidfile")
            machine.process.send_signal(number)
            checks.same(machine.qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-signal"}, f"SHUTDOWN on {number.name}")
            checks.same(machine.process.wait(vmm.PATIENCE), 0, "exit status")
            checks.holds(not (folder.path / "pid").exists(), "the pid file is gone")


def background(checks, folder):
    pidfile, monitor = folder.path / "pid", folder.path / "q"
    command = folder.command("-display", "none", "-daemonize", "-pidfile", str(pidfile), "-qmp", f"unix:{monitor},server=on,wait=off")
    result = run(command)
    checks.same((result.returncode, result.stdout, result.stderr), (0, "", ""), "-daemonize")
    pid = int(pidfile.read_text())
    client = vmm.connect(monitor)
    qmp = vmm.Qmp(client.fileno(), client.fileno())
    qmp.call("qmp_capabilities")
    checks.same(qmp.call("query-status")["return"]["status"], "running", "it runs when the command has ended")
    result = run(command)
    checks.holds(result.returncode == 1 and "is locked" in result.stderr, "a second one with the same pid file: " + result.stderr.strip())
    checks.holds(pidfile.exists(), "whose failure leaves the pid file alone")
    os.kill(pid, signal.SIGTERM)
    qmp.event("SHUTDOWN")
    deadline = time.monotonic() + vmm.PATIENCE
    while pidfile.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    checks.holds(not pidfile.exists(), "SIGTERM ends it")
    result = run(folder.command("-display", "none", "-daemonize", "-drive", "file=/nonexistent/x,if=virtio"))
    checks.holds(result.returncode == 1 and "/nonexistent/x" in result.stderr, "what goes wrong is said before: " + result.stderr.strip())


def messages(checks):
    result = run([vmm.VMM, "-name", "vm1", "-msg", "timestamp=on,guest-name=on", "-kernel", "/nonexistent/k", "-display", "none"])
    checks.holds(result.returncode == 1 and " vm1 xuni-vmm: " in result.stderr and result.stderr[:2] == "20", "-msg: " + result.stderr.strip())


def panics(checks, folder):
    """A write to the port of pvpanic, as a guest's kernel does it."""
    for action, wanted, status, code in (("shutdown", "poweroff", None, 0), ("exit-failure", "poweroff", None, 1),
                                         ("pause", "pause", "guest-panicked", 0), ("none", "run", "running", 0)):
        with vmm.QmpMachine(folder.command("-display", "none", "-qmp", "stdio", "-device", "pvpanic", "-action", f"panic={action}")) as machine:
            machine.qmp.call("qmp_capabilities")
            machine.qmp.human("o /b 0x505 1")
            checks.same(machine.qmp.event("GUEST_PANICKED")["data"]["action"], wanted, f"event with panic={action}")
            if status:
                checks.same(machine.qmp.call("query-status")["return"]["status"], status, "status")
                machine.qmp.call("quit")
            checks.same(machine.process.wait(vmm.PATIENCE), code, "exit status")


def actions(checks, folder):
    """set-action: what -action said is said anew while the machine runs."""
    with vmm.QmpMachine(folder.command("-display", "none", "-qmp", "stdio", "-device", "pvpanic", "-action", "panic=none,reboot=reset")) as machine:
        qmp = machine.qmp
        qmp.call("qmp_capabilities")
        checks.same(qmp.call("set-action", panic="pause", reboot="nope")["error"]["desc"], "Parameter 'reboot' does not accept value 'nope'", "set-action")
        qmp.human("o /b 0x505 1")
        checks.same(qmp.event("GUEST_PANICKED")["data"]["action"], "run", "of which nothing was taken")
        checks.same(qmp.call("set-action", panic="pause", reboot="shutdown"), {"return": {}}, "set-action")
        qmp.human("o /b 0x505 1")
        checks.same(qmp.event("GUEST_PANICKED")["data"]["action"], "pause", "a panic pauses now")
        qmp.call("system_reset")  # not the guest's: RESET
        qmp.event("RESET")
        qmp.human("o /b 0xcf9 6")
        checks.same(qmp.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-reset"}, "and a reset of the guest's ends it")
        checks.same(machine.process.wait(vmm.PATIENCE), 0, "exit status")


def logs(checks, folder):
    log = folder.path / "log"
    command = folder.command("-display", "none", "-qmp", "stdio", "-smp", "2", "-d", "cpu_reset", "-D", str(log), "-device", "virtio-rng-pci",
                             "-global", "virtio-rng-pci.max-bytes=4096", "-global", "nosuch.x=1", "-global", "virtio-blk-pci.serial=x")
    command += ["-serial", "pty"]
    with open(folder.path / "err", "w+") as told, vmm.QmpMachine(command, stderr=told) as machine:
        machine.qmp.call("qmp_capabilities")
        machine.qmp.call("system_reset")
        machine.qmp.event("RESET")
        machine.quit()
        told.seek(0)
        checks.holds("char device redirected to /dev/pts/" in told.read(), "people are told of the pseudo terminal, -D or not")
    lines = log.read_text().splitlines()
    checks.same([line.split(":")[0] for line in lines if line.startswith("CPU Reset")],
                ["CPU Reset (CPU 0)", "CPU Reset (CPU 1)"] * 2, "-d cpu_reset")
    checks.same([line.split("-global ")[1] for line in lines if "-global" in line],
                ["nosuch.x=1 has no effect: there is no device model nosuch",
                 "virtio-blk-pci.serial=x has no effect: there is no device virtio-blk-pci"], "-global that reaches nothing")


def main():
    checks = vmm.Checks()
    with vmm.Folder() as folder:
        names(checks, folder)
        signals(checks, folder)
        background(checks, folder)
        panics(checks, folder)
        actions(checks, folder)
        logs(checks, folder)
    messages(checks)
    checks.end()


if __name__ == "__main__":
    main()
