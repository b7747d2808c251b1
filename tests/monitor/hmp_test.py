#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor for people: on the terminal beside the guest's console (Ctrl-a c), and on a socket."""
import termios

import vmm

UP, LEFT = b"\x1b[A", b"\x1b[D"


def on_terminal(checks, folder):
    with vmm.Terminal([vmm.VMM, "-accel", vmm.ACCEL, "-nographic", "-nic", "none", "-m", "64", "-kernel", folder.kernel]) as terminal:
        terminal.until(rb"hi")
        terminal.type(b"abc")
        terminal.until(rb"abc")
        checks.holds(True, "the console has the keyboard first")
        terminal.type(b"\x03")
        terminal.until(rb"\x03")
        checks.holds(True, "Ctrl-C reaches the guest")
        terminal.type(b"\x01c")
        terminal.until(rb"monitor - type 'help' for more information\r+\n\(qemu\) ")
        terminal.type(b"info status\r")
        terminal.until(rb"VM status: running\r+\n\(qemu\) ")
        terminal.type(b"stop\rinfo status\r")
        terminal.until(rb"VM status: paused\r+\n\(qemu\) ")
        checks.holds(True, "stop, info status")
        terminal.type(UP + UP + b"\r")
        terminal.type(b"cont\r")
        terminal.type(b"in\t stat\t\r")
        terminal.until(rb"VM status: running\r+\n\(qemu\) ")
        checks.holds(True, "history and completion")
        terminal.type(b"nifo status" + LEFT * 9 + b"\x08\x08in\r")
        terminal.until(rb"VM status: running\r+\n\(qemu\) ")
        checks.holds(True, "editing inside the line")
        terminal.type(b"sys\t\t")
        text = terminal.until(rb"\(qemu\) system_")
        checks.holds(b"system_reset" in text and b"system_powerdown" in text, "Tab lists what is possible")
        terminal.type(b"\x03")
        terminal.until(rb"\(qemu\) ")
        terminal.type(b"\x01c")
        terminal.type(b"back")
        terminal.until(rb"back")
        checks.holds(True, "Ctrl-a c goes back to the console")
        terminal.type(b"\x01cquit\r")
        checks.same(terminal.process.wait(vmm.PATIENCE), 0, "quit")
        checks.same(termios.tcgetattr(terminal.slave)[:4], terminal.before[:4], "the terminal is as it was")


def ctrl_a_x(checks, folder):
    with vmm.Terminal([vmm.VMM, "-accel", vmm.ACCEL, "-nographic", "-nic", "none", "-m", "64", "-kernel", folder.kernel]) as terminal:
        terminal.until(rb"hi")
        terminal.type(b"\x01x")
        checks.same(terminal.process.wait(vmm.PATIENCE), 0, "Ctrl-a x")
        checks.same(termios.tcgetattr(terminal.slave)[:4], terminal.before[:4], "the terminal is as it was")


def on_socket(checks, folder):
    path = folder.path / "m"
    command = folder.command("-S", "-display", "none", "-monitor", f"unix:{path},server=on,wait=off", "-qmp", "stdio", "-smp", "2")
    with vmm.QmpMachine(command) as machine:
        for i in range(2):
            client = vmm.connect(path)
            stream = vmm.Stream(client.fileno())
            stream.until(rb"\(qemu\) ")
            client.sendall(b"info status\n")
            stream.until(rb"VM status: paused \(prelaunch\)\r\n\(qemu\) ")
            checks.holds(True, f"client {i + 1} on a socket")
            client.sendall(b"info cpus\ncpu 1\ninfo cpus\n")
            stream.until(rb"\* CPU #0: thread_id=\d+")
            stream.until(rb"\* CPU #1: thread_id=\d+")
            client.sendall(b"A" * 10000 + b"\n")
            stream.until(rb"unknown command: 'A+'")
            client.sendall(bytes(range(128, 256)) + b"\x1b[999999999999C\x1b[\x1bO\n")
            stream.until(rb"\(qemu\) $")
            client.close()
        machine.qmp.call("qmp_capabilities")
        checks.same(machine.quit(), 0, "exit status")


def main():
    checks = vmm.Checks()
    with vmm.Folder() as folder:
        on_terminal(checks, folder)
        ctrl_a_x(checks, folder)
        on_socket(checks, folder)
    checks.end()


if __name__ == "__main__":
    main()
