#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user does wrong gets one line that names the thing and the reason, and a non-zero exit; nothing hangs."""
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VMM = os.environ.get("XUNI_VMM", str(ROOT / "build/xuni-vmm"))
KERNEL = ROOT / ".cache/guest/vmlinuz"


def bzimage(setup_sects=4, version=0x20f, size=8192, **fields):
    image = bytearray(size)
    image[0x1f1] = setup_sects
    image[0x1fe:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    image[0x211] = 1
    for offset, value in fields.items():
        struct.pack_into("<I", image, int(offset[1:], 16), value)
    return bytes(image)


def elf64(phoff=64, phnum=1, filesz=0x1000, memsz=0x1000, paddr=0x100000, size=4096):
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, paddr, phoff, 0, 0, 64, 56, phnum, 64, 0, 0)
    program = struct.pack("<IIQQQQQQ", 1, 5, 0, paddr, paddr, filesz, memsz, 4096)
    return (header + program).ljust(size, b"\0")


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)

        def file(name, content):
            path = tmp / name
            path.write_bytes(content)
            return str(path)

        busy = socket.socket()
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        kernel = str(KERNEL) if KERNEL.exists() else file("vmlinuz", bzimage(size=1 << 20))
        k = ["-accel", "interp", "-nodefaults", "-kernel", kernel]
        cases = [
            # The command line.
            (["-kernle", kernel], ["kernle", "kernel"]),
            (k + ["-chardev", "socket,id=c,host=127.0.0.1,port=99999"], ["99999", "65535"]),
            (k + ["-device", "virtio-blk-pci"], ["xuni-vmm: -device virtio-blk-pci: it needs drive="]),
            (k + ["-device", "virtio-net-pci,mac=zz"], ["xuni-vmm: -device virtio-net-pci.mac: 'zz'"]),
            (k + ["-m", "banana"], ["banana"]),
            (k + ["-m", "9999999G"], ["9999999", "MiB"]),
            (k + ["-smp", "0"], ["-smp"]),
            (k + ["-smp", "100000"], ["100000"]),
            (k + ["-smp", "4,sockets=3,cores=3,threads=3"], ["-smp"]),
            (k + ["-cpu", "Pentium9"], ["Pentium9"]),
            (k + ["-cpu", "max,+warp"], ["warp"]),
            (k + ["-accel", "hvf9"], ["hvf9"]),
            (k + ["-machine", "toaster"], ["toaster"]),
            (k + ["-device", "virtio-blkk-pci"], ["virtio-blkk-pci", "virtio-blk-pci"]),
            (k + ["-device", "virtio-rng-pci,max-byte=3"], ["max-byte", "max-bytes"]),
            (k + ["-device", "virtio-blk-pci"], ["drive"]),
            (k + ["-device", "virtio-blk-pci,drive=nope"], ["nope"]),
            (k + ["-device", "virtio-net-pci,netdev=nope"], ["nope"]),
            (k + ["-device", "virtio-rng-pci,addr=77"], ["77"]),
            (k + ["-device", "virtio-rng-pci,addr=5", "-device", "virtio-rng-pci,addr=5"], ["5"]),
            (k + ["-netdev", "usr,id=n"], ["usr", "user"]),
            (k + ["-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22"], [str(port)]),
            (k + ["-netdev", "user,id=n,hostfwd=tcp:nonsense"], ["nonsense"]),
            # The message speaks of the option that was typed, not of the device or back end that it means.
            (k + ["-nic", "user,model=rtl8193"], ["xuni-vmm: -nic user,model=rtl8193: 'rtl8193' is not a NIC model", "rtl8139", "model=help"]),
            (k + ["-nic", "model=virtio-blk-pci"], ["xuni-vmm: -nic model=virtio-blk-pci: 'virtio-blk-pci' is not a NIC model"]),
            (k + ["-net", "nic,model=foo"], ["xuni-vmm: -net nic,model=foo: 'foo' is not a NIC model (see -nic model=help)"]),
            (k + ["-nic", "foo"], ["xuni-vmm: -nic foo: 'foo' is not a network back end"]),
            (k + ["-nic", "user,mac=zz"], ["xuni-vmm: -nic user,mac=zz: ", "'zz' is not a MAC address"]),
            (k + ["-net", "nic", "-net", "user,foo=1"], ["xuni-vmm: -net user,foo=1: 'foo' is not an option"]),
            (k + ["-net", "nic,vlan=3"], ["xuni-vmm: -net nic,vlan=3: 'vlan' is not an option"]),
            (k + ["-hda", "/nonexistent.img"], ["xuni-vmm: -hda /nonexistent.img: ", "No such file"]),
            (k + ["/nonexistent.img"], ["xuni-vmm: /nonexistent.img: ", "No such file"]),
            (k + ["-drive", f"if=ide,readonly=on,format=raw,file={file('disk', bytes(65536))}"], ["xuni-vmm: -drive if=ide,", "read-only"]),
            (k + ["-readconfig", file("vm.cfg", b'[drive]\nfile = "/nonexistent.img"\n')], ["vm.cfg: [drive]: ", "/nonexistent.img"]),
            (k + ["-serial", "file:/nonexistent/x"], ["xuni-vmm: -serial file:/nonexistent/x: ", "No such file"]),
            (k + ["-serial", f"tcp:127.0.0.1:{port},server=on,wait=off"], [str(port)]),
            (k + ["-chardev", "file,id=c,path=/nonexistent/dir/x"], ["/nonexistent/dir/x", "No such file"]),
            (k + ["-drive", "file=/nonexistent.img,format=raw,if=virtio"], ["/nonexistent.img", "No such file"]),
            (k + ["-drive", "file=x,format=raww,if=virtio"], ["raww"]),
            (k + ["-drive", "if=virtioo,file=x"], ["virtioo", "virtio"]),
            (k + ["-object", "iothred,id=t"], ["iothred", "iothread"]),
            (k + ["-d", "bananas"], ["bananas"]),
            (k + ["-global", "virtio-rng-pci.max-byte=1", "-device", "virtio-rng-pci"], ["max-byte"]),
            (k + ["-vnc", "foo"], ["-vnc", "no vnc port specified"]),
            (k + ["-vnc", ":x"], ["-vnc", "can't convert to a number: x"]),
            (k + ["-vnc", "127.0.0.1:99999"], ["-vnc", "port 105899 out of range"]),
            (k + ["-vnc", "127.0.0.1:71,share=x"], ["-vnc", "unknown vnc share= option"]),
            (k + ["-vnc", "127.0.0.1:71,passwrd=on"], ["-vnc", "passwrd", "password"]),
            (k + ["-vnc", "none", "-k", "xx"], ["could not read keymap file: 'xx'"]),
            (k + ["-vnc", "unix:/nonexistent/x"], ["-vnc", "/nonexistent/x", "No such file"]),
            (k + ["-vnc", "127.0.0.1:71,websocket=x"], ["-vnc 127.0.0.1:71,websocket=x: websocket=x: "]),
            (k + ["-vnc", ":71,ipv4=off,ipv6=off"], ["-vnc", "Cannot disable IPv4 and IPv6 at same time"]),
            (k + ["-vnc", f"127.0.0.1:{port - 5900}"], [f"xuni-vmm: -vnc 127.0.0.1:{port - 5900}: ", "already in use"]),
            (k + ["-vnc", "127.0.0.1:71,power-control=on"], ["-vnc", "power-control=: not supported yet"]),
            (k + ["-display", "vnc"], ["-display vnc: ", "-display vnc=:0"]),
            (k + ["-gdb", "tcp::99999"], ["xuni-vmm: -gdb tcp::99999: tcp::99999: ports end at 65535"]),
            (k + ["-gdb", "foo"], ["xuni-vmm: -gdb foo: 'foo' is not a character device"]),
            (k + ["-device", "VGA,xres=-1"], ["xuni-vmm: -device VGA.xres: '-1': expected a number"]),
            (k + ["-device", "VGA,edid=maybe"], ["xuni-vmm: -device VGA.edid: 'maybe': expected on or off"]),
            (k + ["-device", "vmgenid,guid=auto", "-device", "vmgenid,guid=auto"], ["at most one vmgenid"]),
            (k + ["-drive", f"if=none,id=d,format=raw,file={file('disk5', bytes(65536))}", "-device", "ide-hd,drive=d,unit=5"],
             ["-device ide-hd: Can't create IDE unit 5, bus supports only 2 units"]),
            (k + ["-drive", f"if=none,id=d,aio=native,format=raw,file={file('disk6', bytes(65536))}"], ["-drive if=none,", "aio=native", "cache.direct=on"]),
            (["-machine", "pc,firmware=nofile"], ["xuni-vmm: firmware 'nofile' is not there"]),
            (["-bios", "nofile"], ["xuni-vmm: firmware 'nofile' is not there"]),
            (["-boot", "splash=nofile"], ["-boot splash: there is no file 'nofile'"]),
            (k + ["-readconfig", "/nonexistent.cfg"], ["/nonexistent.cfg", "No such file"]),
            (k + ["-uuid", "not-a-uuid"], ["not-a-uuid"]),
            # Kernels and initrds.
            (["-kernel", "/nonexistent/vmlinuz"], ["/nonexistent/vmlinuz", "No such file"]),
            (["-kernel", str(tmp)], [name]),
            (["-kernel", file("empty", b"")], ["empty"]),
            (["-kernel", file("text", b"hello\n" * 1000)], ["text"]),
            (["-kernel", file("cut", bzimage(setup_sects=60))], ["cut"]),
            (["-kernel", file("old", bzimage(version=0x201))], ["old"]),
            (["-kernel", file("huge-init", bzimage(size=65536, x260=0xfffffff0))], ["huge-init"]),
            (["-kernel", file("elf-cut", elf64(phoff=1 << 40))], ["elf-cut"]),
            (["-kernel", file("elf-big", elf64(filesz=1 << 50, memsz=1 << 50))], ["elf-big"]),
            (["-kernel", file("elf-far", elf64(paddr=1 << 60))], ["elf-far"]),
            (k + ["-initrd", "/nonexistent/initrd"], ["/nonexistent/initrd", "No such file"]),
            (k + ["-m", "64M", "-initrd", file("initrd-large", bytes(80 << 20))], ["initrd-large"]),
            (k + ["-append", "x" * 100000], ["-append"]),
        ]
        for arguments, needles in cases:
            shown = " ".join(a if len(a) < 60 else a[:20] + "..." for a in arguments)
            try:
                result = subprocess.run([VMM, "-display", "none", *arguments], stdin=subprocess.DEVNULL,
                                        capture_output=True, text=True, errors="replace", timeout=60)
            except subprocess.TimeoutExpired:
                print(f"FAILED  {shown}: did not end")
                failed += 1
                continue
            message = result.stderr.strip()
            problems = []
            if result.returncode != 1:
                problems.append(f"exit status {result.returncode}, not 1")
            if len(message.splitlines()) != 1:
                problems.append(f"{len(message.splitlines())} lines, not one")
            problems += [f"does not name '{n}'" for n in needles if n not in message]
            if problems:
                failed += 1
                print(f"FAILED  {shown}: {'; '.join(problems)}\n        {message[:400]}")
    print(f"{len(cases) - failed} of {len(cases)} as wanted")
    return 1 if failed else 0


sys.exit(main())
