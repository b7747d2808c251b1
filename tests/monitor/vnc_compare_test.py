#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VNC servers through the monitor: the same words and requests get the same answers as from qemu."""
import os
import pathlib
import shutil
import socket
import subprocess

import vmm

HUMAN = ["info vnc", "change vnc password", "change vnc password abc", "change vnc :8", "set_password vnc abc", "set_password vnc abc keep",
         "set_password vnc abc bogus", "set_password vnc abc disconnect", "set_password vnc abc -d foo", "set_password foo abc",
         "set_password", "expire_password vnc now", "expire_password vnc never", "expire_password vnc +5", "expire_password vnc x",
         "expire_password vnc", "help set_password", "help expire_password", "help info vnc"]
REQUESTS = [("query-vnc", {}), ("query-vnc-servers", {}),
            ("set_password", {"protocol": "vnc", "password": "x"}),
            ("set_password", {"protocol": "vnc", "password": "x", "connected": "disconnect"}),
            ("set_password", {"protocol": "vnc", "password": "x", "connected": "bla"}),
            ("set_password", {"protocol": "spice", "password": "x"}),
            ("set_password", {"protocol": "foo", "password": "x"}),
            ("expire_password", {"protocol": "vnc", "time": "now"}),
            ("change-vnc-password", {"password": "a"}),
            ("display-reload", {"type": "vnc"}),
            ("display-reload", {"type": "vnc", "tls-certs": True})]


def free_display():
    for number in range(40, 99):
        with socket.socket() as probe, socket.socket() as other:
            try:
                probe.bind(("127.0.0.1", 5900 + number))
                other.bind(("127.0.0.1", 5700 + number))
                return number
            except OSError:
                continue
    return vmm.skip("no free display number")


def elsewhere(number):
    """Requests that have the server listen at another address, and what it says of it."""
    inet = {"type": "inet", "host": "127.0.0.1"}
    return [("display-update", {"type": "vnc", "addresses": [{**inet, "port": str(5900 + number)}]}), ("query-vnc-servers", {}),
            ("display-update", {"type": "vnc", "addresses": [{**inet, "port": str(5901 + number)}], "websockets": []}), ("query-vnc", {}),
            ("display-update", {"type": "vnc"}), ("query-vnc-servers", {}), ("query-vnc", {}),
            ("display-update", {"type": "vnc", "addresses": [{**inet, "port": str(5900 + number)}, {**inet, "port": str(5901 + number)}]}),
            ("query-vnc-servers", {}), ("display-update", {"type": "vnc", "addresses": []}), ("query-vnc-servers", {}), ("query-vnc", {}),
            ("display-update", {"type": "spice"}), ("display-update", {})]


def session(program, arguments, requests=tuple(REQUESTS)):
    with vmm.QmpMachine([program, "-accel", "interp" if program == vmm.VMM else "tcg", "-nodefaults", "-S", "-qmp", "stdio", *arguments]) as machine:
        machine.qmp.call("qmp_capabilities")
        answers = [machine.qmp.human(line) for line in HUMAN]
        answers += [machine.qmp.call(name, **arguments) for name, arguments in requests]
        machine.qmp.call("quit")
        machine.process.wait(vmm.PATIENCE)
        return answers


def refusal(program, arguments):
    """The last line's reason, behind the option that qemu repeats and xuni names."""
    done = subprocess.run([program, "-accel", "interp" if program == vmm.VMM else "tcg", "-nodefaults", *arguments], capture_output=True, text=True,
                          timeout=vmm.PATIENCE, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr.strip().rsplit(": ", 1)[-1]


PKI = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca-key.pem -out ca-cert.pem
for name in server; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$name -keyout $name-key.pem -out $name.csr
  openssl x509 -req -in $name.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out $name-cert.pem
done
"""


def main():
    qemu = os.environ.get("XUNI_QEMU") or shutil.which("qemu-system-x86_64")
    if not qemu:
        vmm.skip("qemu-system-x86_64 is not installed")
    if not (pathlib.Path(vmm.VMM).parent / "display-vnc.so").exists():
        vmm.skip("the VNC module was not built: libvncserver or libxkbcommon is missing")
    checks = vmm.Checks()
    number = free_display()
    addresses = pathlib.Path("/proc/net/if_inet6")
    ipv6 = addresses.exists() and addresses.read_text()
    with vmm.Folder() as folder:
        subprocess.run(["sh", "-ec", PKI], cwd=folder.path, check=True, capture_output=True)
        x509, anonymous = f"tls-creds-x509,id=t,endpoint=server,dir={folder.path},verify-peer=off", "tls-creds-anon,id=t,endpoint=server"
        for arguments in (["-object", x509, "-vnc", f"127.0.0.1:{number},tls-creds=t,password=on,websocket=on"],
                          ["-object", anonymous, "-vnc", f"127.0.0.1:{number},tls-creds=t"],
                          ["-object", "secret,id=s,data=abc", "-vnc", f"127.0.0.1:{number},password-secret=s"], ["-vnc", f"127.0.0.1:{number},password=on,websocket=on"], ["-vnc", f"127.0.0.1:{number}"], ["-vnc", "none"],
                          ["-vnc", f"unix:{folder.path}/vnc"], ["-vnc", f":{number}"], ["-display", "none"],
                          ["-vnc", f":{number},ipv6=off"], *([["-vnc", f":{number},ipv4=off"], ["-vnc", f":{number},ipv4=on,ipv6=on"]] if ipv6 else []),
                          ["-device", "VGA,id=v1", "-device", "VGA,id=v2", "-vnc", f"127.0.0.1:{number},display=v2"]):
            for what, mine, theirs in zip(HUMAN + REQUESTS, session(vmm.VMM, arguments), session(qemu, arguments)):
                checks.same(mine, theirs, f"{' '.join(arguments)}: {what}")
        arguments, requests = ["-vnc", f"127.0.0.1:{number}"], elsewhere(number)
        for what, mine, theirs in zip(HUMAN + requests, session(vmm.VMM, arguments, requests), session(qemu, arguments, requests)):
            checks.same(mine, theirs, f"{' '.join(arguments)}: {what}")
        for arguments in (["-vnc", "none,password-secret=x"], ["-vnc", "none,tls-creds=x"],
                          ["-object", "secret,id=x,data=a", "-vnc", "none,password=on,password-secret=x"],
                          ["-object", "secret,id=x,data=a", "-vnc", "none,tls-creds=x"], ["-object", "tls-creds-anon,id=x", "-vnc", "none,tls-creds=x"]):
            checks.same(*(refusal(program, arguments) for program in (vmm.VMM, qemu)), f"{' '.join(arguments)}: refused alike")
    checks.end()


if __name__ == "__main__":
    main()
