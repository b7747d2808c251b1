#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The NBD server (xuni-img export, xuni-nbd) beside qemu-nbd, and with real clients: nbd_server_test.py [GROUP]."""
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
IMG = os.environ.get("XUNI_IMG", str(ROOT / "build/xuni-img"))
PATIENCE = float(os.environ.get("XUNI_PATIENCE", "1"))
MIB = 1 << 20


class Failed(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Failed(what)


def run(*command, check=True, **kwargs):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120 * PATIENCE, **kwargs)
    if check and done.returncode:
        raise Failed(f"{shlex.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_for(condition, what, seconds=20):
    """For states of other processes that announce themselves in no way that could be waited for."""
    end = time.monotonic() + seconds * PATIENCE
    while not condition():
        need(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.01)


class Server:
    """xuni-nbd, or another, on a Unix socket; ready when it listens."""

    def __init__(self, nbd, folder, *options, program=None):
        self.socket = folder / f"s{random.randrange(1 << 40):x}"
        self.process = subprocess.Popen([program or nbd, "-k", str(self.socket), *map(str, options)], stderr=subprocess.PIPE, text=True)
        wait_for(lambda: self.accepts() or self.process.poll() is not None, "server")
        need(self.process.poll() is None, f"server did not start: {options}")

    def accepts(self):
        """Listens: /proc/net/unix shows it without a connection, which the server would count."""
        return any(line.endswith(f" {self.socket}") and line.split()[3] == "00010000" for line in open("/proc/net/unix").read().splitlines())

    def uri(self, export=""):
        return f"nbd+unix:///{export}?socket={self.socket}"

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(30 * PATIENCE)
        self.process.stderr.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def noise(path, mib, seed=1):
    path.write_bytes(random.Random(seed).randbytes(mib * MIB))
    return path


def same_bytes(a, b, what):
    need(pathlib.Path(a).read_bytes() == pathlib.Path(b).read_bytes(), what)


# --- the same command lines under both ---

CLI = ["", "nono", "-p foo a.raw", "-e -1 a.raw", "-e x a.raw", "-f nofmt a.raw", "-k rel.sock a.raw", "--cache=foo a.raw",
       "--discard=x a.raw", "a.raw b.raw", "-o x a.raw", "-o 2M a.raw", "-n --cache=none a.raw", "-b 1.2.3.4.5 a.raw",
       "-k /nodir/s a.raw", "-k $PWD/z -f raw --pid-file=/nodir/x a.raw", "--persist a.raw a", "--fork -k /nodir/s a.raw",
       "-f qcow2 a.raw", "--fork -f raw nono", "-f raw -k $PWD/z -o 1048576 --fork --pid-file=$PWD/pid a.raw; kill $(cat pid)"]


def group_cli(nbd, folder):
    results = {}
    for name, program in (("ours", nbd), ("theirs", "qemu-nbd")):
        place = folder / name
        place.mkdir()
        (place / "a.raw").write_bytes(bytes(MIB))
        for words in CLI:
            done = subprocess.run(["bash", "-c", f"{program} {words}"], cwd=place, capture_output=True, text=True, timeout=60 * PATIENCE)
            text = re.sub(r"\b(xuni-nbd|qemu-nbd)\b", "NBD", done.stdout + done.stderr).replace(str(place), "DIR")
            results.setdefault(words, []).append((done.returncode, text))
    different = [words for words, (mine, wanted) in results.items() if mine != wanted]
    for words in different:
        print(f"NBD {words}\n  qemu-nbd {results[words][1]}\n  xuni-nbd {results[words][0]}")
    need(not different, f"{len(different)} command lines behave otherwise")


def group_info(nbd, folder):
    """What nbdinfo finds is the same for both, in every detail."""
    (folder / "a.raw").write_bytes(bytes(MIB) + b"\1" * 1000)
    base, top = folder / "base.qcow2", folder / "top.qcow2"
    run("qemu-img", "create", "-f", "qcow2", base, "8M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", "-c", "write -z 5M 1M", base)
    run("qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 2 2M 1M", "-c", "write -z 3M 64k", top)
    for options in ([], ["-r"], ["-e", "2"], ["-r", "-e", "0", "-A", "-x", "foo", "-D", "a text"], ["-o", "512"]):
        seen = [json.loads(run("nbdinfo", "--list", "--json", "--", "[", program, "-f", "raw", *options, folder / "a.raw", "]").stdout)
                for program in (nbd, "qemu-nbd")]
        need(seen[0] == seen[1], f"{options}: {seen[0]} is not {seen[1]}")
    for context in ("base:allocation", "qemu:allocation-depth"):
        for image in (base, top):
            seen = [run("nbdinfo", f"--map={context}", "--json", "--", "[", program, "-A", "-r", "-f", "qcow2", image, "]").stdout
                    for program in (nbd, "qemu-nbd")]
            need(json.loads(seen[0]) == json.loads(seen[1]), f"{image.name} {context}: {seen[0]} is not {seen[1]}")
    for words in (["--size"], ["--is", "tls"], ["--can", "df"], ["--is", "read-only"], ["--can", "zero"]):
        seen = [run("nbdinfo", *words, "--", "[", program, "-f", "raw", folder / "a.raw", "]", check=False) for program in (nbd, "qemu-nbd")]
        need((seen[0].returncode, seen[0].stdout) == (seen[1].returncode, seen[1].stdout), f"nbdinfo {words}")


# --- data through real clients ---

def group_data(nbd, folder):
    source, back = noise(folder / "source", 40), folder / "back"
    with open(source, "r+b") as f:  # with holes
        os.posix_fallocate(f.fileno(), 0, 40 * MIB)
        f.truncate(20 * MIB)
        f.truncate(40 * MIB)
    for fmt in ("raw", "qcow2"):
        image = folder / f"disk.{fmt}"
        run("qemu-img", "create", "-f", fmt, image, "40M")
        with Server(nbd, folder, "-t", "-e", "0", "-f", fmt, "--discard=unmap", image) as server:
            run("nbdcopy", source, server.uri())
            run("nbdcopy", "--connections=4", server.uri(), back)
            same_bytes(source, back, f"{fmt}: nbdcopy there and back")
            need(run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, server.uri()).returncode == 0, "qemu-img compare")
            run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, server.uri())
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", server.uri(), folder / "copy.qcow2")
            run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", source, folder / "copy.qcow2")
            run("qemu-io", "-f", "raw", "-c", "write -P 5 1M 1M", "-c", "write -z -u 2M 1M", "-c", "discard 4M 1M", "-c", "write -f -P 6 6M 4k",
                "-c", "flush", "-c", "read -P 5 1M 1M", "-c", "read -P 0 2M 1M", "-c", "read -P 0 4M 1M", "-c", "read -P 6 6M 4k",
                "-c", "aio_write -P 9 8M 64k", "-c", "aio_write -P 10 9M 64k", "-c", "aio_flush", "-c", "read -P 9 8M 64k", server.uri())
            if shutil.which("fio"):
                run("fio", "--name=x", "--ioengine=nbd", f"--uri={server.uri()}", "--rw=randrw", "--bs=4k-64k", "--iodepth=32", "--size=16M",
                    "--verify=crc32c", "--verify_fatal=1", "--trim_percentage=10", "--fsync=64", cwd=folder)
            # One connection's writes are seen by another after its flush, and by the file after the end.
            run("qemu-io", "-f", "raw", "-c", "write -P 77 30M 1M", "-c", "flush", server.uri())
            run("qemu-io", "-f", "raw", "-c", "read -P 77 30M 1M", server.uri())
            need(server.stop() == 0, "ends with status 0")
            need(not server.socket.exists(), "its socket is gone")
        run("qemu-io", "-f", fmt, "-c", "read -P 77 30M 1M", image)
        if fmt == "qcow2":
            run("qemu-img", "check", image)


def group_tcp(nbd, folder):
    """TCP on both families, several exports' worth of list clients, the system's own nbd-client."""
    image = noise(folder / "a.raw", 2)
    for address, host in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                print(f"no {address} here")
                continue
            port = probe.getsockname()[1]
        pid_file = folder / "pid"
        run(nbd, "--fork", "--pid-file", pid_file, "-b", address, "-p", port, "-t", "-r", "-f", "raw", "-x", "one", image)
        pid = int(pid_file.read_text())
        try:
            run("nbdcopy", f"nbd://{host}:{port}/one", folder / "back")
            same_bytes(image, folder / "back", "over TCP")
            need("not present" in run("nbdinfo", f"nbd://{host}:{port}/two", check=False).stderr.replace("No such file", "not present"),
                 "an export that is not there")
            if shutil.which("nbd-client") and address == "127.0.0.1":
                listed = run("nbd-client", "-l", address, port)
                need("one" in listed.stdout + listed.stderr, f"nbd-client -l: {listed.stdout}{listed.stderr}")
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists() or "Z" in pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1], "end")


# --- the process ---

def group_process(nbd, folder):
    image = noise(folder / "a.raw", 1)
    # Ends with the last client that used the export, not with one that only asked.
    with Server(nbd, folder, "-f", "raw", image) as server:
        run("nbdinfo", "--list", server.uri())
        need(server.process.poll() is None, "a client that lists does not end it")
        run("nbdcopy", server.uri(), folder / "back")
        need(server.process.wait(20 * PATIENCE) == 0, "the last client ends it")
    # One client at a time unless told otherwise: the second waits.
    with Server(nbd, folder, "-t", "-f", "raw", image) as server:
        first = RawClient(server.socket)
        first.go("")
        second = subprocess.Popen(["nbdinfo", "--size", server.uri()], stdout=subprocess.PIPE, text=True)
        time.sleep(0.2)
        need(second.poll() is None, "the second client waits")
        first.close()
        need(second.communicate(timeout=20 * PATIENCE)[0].strip() == str(MIB), "and is served")
    # A file that is in use is not exported for writing a second time; qemu's locks see ours.
    with Server(nbd, folder, "-t", "-f", "raw", image):
        done = run("qemu-io", "-f", "raw", "-c", "write 0 512", image, check=False)
        need("Failed to get" in done.stderr, "qemu is told that the image is in use")
        done = run(nbd, "-f", "raw", "-k", folder / "other", image, check=False)
        need(done.returncode == 1 and "lock" in done.stderr, f"a second server is refused: {done.stderr}")
    # snapshot=on: the image stays as it was.
    before = image.read_bytes()
    with Server(nbd, folder, "-t", "-s", "-f", "raw", image) as server:
        run("qemu-io", "-f", "raw", "-c", "write -P 3 0 64k", "-c", "read -P 3 0 64k", server.uri())
        server.stop()
    need(image.read_bytes() == before, "-s leaves the image alone")
    # read-only exports refuse writes, windows keep to themselves.
    with Server(nbd, folder, "-t", "-r", "-f", "raw", image) as server:
        client = RawClient(server.socket)
        client.go("")
        need(client.request(1, 0, 512, b"x" * 512) == 1, "EPERM for a write")
        need(client.request(6, 0, 512) == 1, "EPERM for zeroes")
        client.close()
    with Server(nbd, folder, "-t", "-f", "raw", "-o", 4096, image) as server:
        client = RawClient(server.socket)
        need(client.go("") == MIB - 4096, "size of a window")
        need(client.request(1, 0, 512, b"y" * 512) == 0, "write")
        client.close()
        server.stop()
    need(image.read_bytes()[4096:4608] == b"y" * 512 and image.read_bytes()[:4096] == before[:4096], "-o moves the window")
    # SIGTERM while a client is in the middle of things.
    with Server(nbd, folder, "-t", "-e", "3", "-f", "raw", image) as server:
        clients = [RawClient(server.socket) for _ in range(2)]
        clients[0].go("")
        clients[0].socket.sendall(clients[0].header(1, 0, 65536, 7) + b"half of it")
        clients[0].socket.sendall(b"")
        need(server.stop() == 0, "ends in good order with clients")
    need(image.read_bytes()[4096:4608] == b"y" * 512, "half a write is no write")


# --- bytes that no well-behaved client sends ---

class RawClient:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20 * PATIENCE)
        self.socket.connect(str(path))
        self.cookie = 0
        need(self.read(16) == b"NBDMAGICIHAVEOPT", "greeting")
        self.flags = struct.unpack(">H", self.read(2))[0]
        self.structured = False

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            need(part, "the server hung up")
            data += part
        return data

    def option(self, number, data=b"", length=None):
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data) if length is None else length) + data)

    def reply(self):
        magic, option, kind, length = struct.unpack(">QIII", self.read(20))
        need(magic == 0x3e889045565a9, "magic of an option's reply")
        return option, kind, self.read(length)

    def start(self):
        self.socket.sendall(struct.pack(">I", 3))

    def go(self, name):
        self.start()
        self.option(7, struct.pack(">I", len(name)) + name.encode() + b"\0\0")
        size = None
        while True:
            option, kind, data = self.reply()
            if kind == 1:
                return size
            need(kind == 3, f"reply {kind:#x} to GO: {data}")
            if data[:2] == b"\0\0":
                size = struct.unpack(">Q", data[2:10])[0]

    def header(self, command, offset, length, cookie, flags=0):
        return struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length)

    def request(self, command, offset, length, data=b"", flags=0):
        """The error of a request with a simple reply."""
        self.cookie += 1
        self.socket.sendall(self.header(command, offset, length, self.cookie, flags) + data)
        magic, error, cookie = struct.unpack(">IIQ", self.read(16))
        need(magic == 0x67446698 and cookie == self.cookie, "simple reply")
        if command == 0 and not error:
            self.data = self.read(length)
        return error

    def ended(self):
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def close(self):
        self.socket.close()


def group_protocol(nbd, folder):
    image = folder / "a.raw"
    image.write_bytes(bytes(MIB))
    with Server(nbd, folder, "-t", "-e", "0", "-f", "raw", image) as server:
        def client():
            return RawClient(server.socket)

        # Options that are wrong are answered, and the negotiation goes on.
        c = client()
        c.start()
        for number, data, kind in ((3, b"x", 0x80000003), (99, b"abc", 0x80000001), (5, b"", 0x80000002), (7, b"", 0x80000003),
                                   (6, struct.pack(">I", 5) + b"abc", 0x80000003), (6, struct.pack(">I", 3) + b"abc\0\0", 0x80000006),
                                   (6, struct.pack(">I", 0xffffffff) + b"\0\0", 0x80000003), (6, b"\0\0\0\0\0\7\0\1", 0x80000003),
                                   (10, b"\0\0\0\0\0\0\0\1", 0x80000003), (8, b"x", 0x80000003), (8, b"", 1),
                                   (10, b"\0\0\0\0\0\0\0\1\0\0\0\5abc", 0x80000003), (10, b"\0\0\0\3foo\0\0\0\0", 0x80000006),
                                   (9, b"\0\0\0\0" + b"\xff" * 4, 0x80000003)):
            c.option(number, data)
            got = c.reply()
            need(got[:2] == (number, kind), f"option {number} {data}: {got}")
        c.option(2, bytes(200000))  # longer than anything that makes sense
        need(c.reply()[1] == 0x80000009, "too big")
        c.option(3)
        need(c.reply()[1] == 2 and c.reply()[1] == 1, "and lists after all that")
        c.option(2)
        need(c.reply()[1] == 1 and c.ended(), "abort is acknowledged")
        c.close()
        # What ends the connection.
        for bytes_sent in (b"\0\0\0\xff", struct.pack(">I", 3) + b"IHAVEOPX" + bytes(8), struct.pack(">I", 3) + b"IHAVEOPT" + b"\0\0\0\1\xff\xff\xff\xff",
                           struct.pack(">I", 0) + b"IHAVEOPT" + struct.pack(">II", 3, 0), struct.pack(">I", 1) + b"IHAVEOPT" + struct.pack(">II", 1, 3) + b"foo"):
            c = client()
            c.socket.sendall(bytes_sent)
            need(c.ended(), f"{bytes_sent} ends it")
            c.close()
        # The oldest way in, with its zeroes.
        c = client()
        c.socket.sendall(struct.pack(">I", 1))
        c.option(1, b"")
        answer = c.read(8 + 2 + 124)
        need(struct.unpack(">Q", answer[:8])[0] == MIB and answer[10:] == bytes(124), "export name")
        need(c.request(0, 0, 512) == 0 and c.data == bytes(512), "and reads")
        c.close()
        # Requests that are wrong are answered and change nothing.
        c = client()
        c.go("")
        for command, offset, length, flags, error in ((0, MIB, 512, 0, 22), (0, 0, MIB + 1, 0, 22), (0, 2**64 - 1, 2, 0, 22), (9, 0, 0, 0, 22),
                                                      (0, 0, 512, 0x100, 22), (7, 0, 512, 0, 22), (4, MIB - 1, 2, 0, 28), (6, MIB, 1, 0, 28),
                                                      (5, MIB, 1, 0, 22), (0, 0, 2**32 - 1, 0, 22), (0, 0, 512, 4, 22)):
            got = c.request(command, offset, length, flags=flags)
            need(got == error, f"command {command} {offset}+{length} flags {flags}: error {got}")
        need(c.request(1, MIB - 1, 2, b"zz") == 28, "a write beyond the end, its data skipped")
        need(c.request(1, 0, 4, b"zzzz", flags=0x80) == 22, "a write with wrong flags, its data skipped")
        need(c.request(0, 0, 0) == 0 and c.request(1, 0, 0) == 0 and c.request(3, 0, 0) == 0, "nothing at all")
        need(c.request(0, MIB - 512, 512) == 0 and c.data == bytes(512), "and reads after all that")
        for command, flags in ((1, 1), (4, 1), (6, 1), (6, 2), (6, 16), (5, 0), (3, 0)):
            need(c.request(command, 4096, 4096, bytes(4096) if command == 1 else b"", flags) == 0, f"command {command} flags {flags}")
        c.socket.sendall(c.header(1, 0, 33 << 20, 1))
        need(c.ended(), "too long a write ends it")
        c.close()
        c = client()
        c.go("")
        c.socket.sendall(bytes(28))
        need(c.ended(), "a request without its magic ends it")
        c.close()
        # A client that asks and never reads has bounded memory, and its neighbours are served.
        c = client()
        c.go("")
        c.socket.setblocking(False)
        sent = 0
        try:
            for _ in range(20000):
                sent += c.socket.send(c.header(0, 0, MIB, 1))
        except BlockingIOError:
            pass
        need(run("nbdinfo", "--size", server.uri()).stdout.strip() == str(MIB), "a neighbour is served")
        status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))
        need(resident < 200 * 1024, f"memory stays bounded: {resident} KiB")
        c.close()
        # Requests in pieces of single bytes.
        c = client()
        c.go("")
        for message, answer in ((c.header(1, 512, 4, 5) + b"abcd", b""), (c.header(0, 512, 4, 6), b"abcd")):
            for byte in message:
                c.socket.send(bytes([byte]))
            need(c.read(16 + len(answer))[15:] == message[15:16] + answer, "a reply")
        c.close()
        need(server.stop() == 0, "still there at the end")


GROUPS = {"cli": group_cli, "info": group_info, "data": group_data, "tcp": group_tcp, "process": group_process, "protocol": group_protocol}

if __name__ == "__main__":
    for tool, package in (("qemu-nbd", "qemu-utils"), ("nbdinfo", "libnbd-bin"), ("nbdcopy", "libnbd-bin")):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not here (package {package})")
            sys.exit(77)
    bad = 0
    for group in sys.argv[1:] or GROUPS:
        with tempfile.TemporaryDirectory(prefix="xuni-nbd-") as directory:
            link = pathlib.Path(directory) / "xuni-nbd"
            link.symlink_to(IMG)
            try:
                GROUPS[group](str(link), pathlib.Path(directory))
                print(f"ok      {group}")
            except Failed as failure:
                print(f"FAILED  {group}: {failure}")
                bad += 1
    sys.exit(1 if bad else 0)
