#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The VNC server with SeaBIOS on the screen: pictures in every encoding, by this test's client and by real viewers, against
screendump; passwords, TLS, WebSockets, many, slow, broken and exclusive clients."""
import json
import os
import pathlib
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "monitor"))
import vmm  # noqa: E402
from rfb import DESKTOP_SIZE, HEXTILE, QEMU_KEYS, QEMU_LED, QEMU_POINTER, RAW, ZRLE, Client, Refused, trusting  # noqa: E402


RESERVED = []


def free_display():
    """A number whose ports are free, and that no other test beside takes: an abstract socket of its name is held."""
    for number in range(40, 99):
        mine = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe, socket.socket() as other:
            try:
                mine.bind(f"\0xuni-vnc-{number}")
                probe.bind(("127.0.0.1", 5900 + number))
                other.bind(("127.0.0.1", 5700 + number))
                RESERVED.append(mine)
                return number
            except OSError:
                mine.close()
    vmm.skip("no free display number")
    return 0


def machine(folder, *extra):
    return vmm.QmpMachine([vmm.VMM, "-accel", os.environ.get("XUNI_ACCEL", "translate"), "-nodefaults", "-m", "64", "-vga", "std", "-qmp", "stdio",
                           *extra])


def png_pixels(path):
    """Width, height and pixels as 32-bit little-endian XRGB, of the simple PNGs that viewers write."""
    data = pathlib.Path(path).read_bytes()
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", data[at + 8:at + 18])
        elif kind == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    step = {2: 3, 6: 4}[colour]
    raw, rows, before = zlib.decompress(packed), [], bytes(width * step)
    for y in range(height):
        kind, line = raw[y * (width * step + 1)], bytearray(raw[y * (width * step + 1) + 1:(y + 1) * (width * step + 1)])
        for i in range(len(line)):
            left, up, corner = (line[i - step] if i >= step else 0), before[i], (before[i - step] if i >= step else 0)
            if kind == 4:
                guess = left + up - corner
                distance = [(abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner)]
                add = min(distance)[2]
            else:
                add = (0, left, up, (left + up) // 2)[kind]
            line[i] = (line[i] + add) & 0xff
        before = bytes(line)
        rows.append(before)
    flat = b"".join(rows)
    pixels = bytearray(width * height * 4)
    pixels[0::4], pixels[1::4], pixels[2::4] = flat[2::step], flat[1::step], flat[0::step]
    return width, height, bytes(pixels)


def ppm_pixels(path):
    head, size, _, data = pathlib.Path(path).read_bytes().split(b"\n", 3)
    assert head == b"P6"
    width, height = map(int, size.split())
    pixels = bytearray(width * height * 4)
    pixels[0::4], pixels[1::4], pixels[2::4] = data[2::3], data[1::3], data[0::3]
    return width, height, bytes(pixels)


def dump(vm, folder):
    path = folder.path / "screen.ppm"
    vm.qmp.call("screendump", filename=str(path))
    return ppm_pixels(path)


def rgb(pixels):
    """Without the byte that means nothing."""
    clean = bytearray(pixels)
    clean[3::4] = bytes(len(clean) // 4)
    return bytes(clean)


def pictures(checks, folder):
    number = free_display()
    address = ("127.0.0.1", 5900 + number)
    with machine(folder, "-S", "-vnc", f"127.0.0.1:{number}", "-name", "pictured") as vm:
        vm.qmp.call("qmp_capabilities")
        client = Client(address)
        checks.same(client.version, b"RFB 003.008\n", "the version")
        checks.same(client.name, "pictured", "the machine's name")
        client.encodings(RAW, DESKTOP_SIZE, QEMU_KEYS, QEMU_POINTER, QEMU_LED)
        vm.qmp.call("cont")
        deadline = time.monotonic() + vmm.PATIENCE
        while time.monotonic() < deadline:
            client.request(incremental=True)
            client.update()
            text = folder.path / "screen.txt"
            vm.qmp.call("screendump", filename=str(text), format="text")
            if text.exists() and "SeaBIOS" in text.read_text(errors="replace"):
                break
        checks.holds(client.keys and client.absolute is False and client.led is not None, "qemu's extensions are answered")
        time.sleep(1.5)
        vm.qmp.call("stop")
        width, height, wanted = dump(vm, folder)
        checks.same((client.width, client.height), (width, height), "the size")
        time.sleep(0.1)
        checks.holds(rgb(client.whole()) == wanted, "raw: the picture is screendump's")
        for name, encoding in (("hextile", HEXTILE), ("zrle", ZRLE)):
            other = Client(address)
            other.encodings(encoding, DESKTOP_SIZE)
            checks.holds(rgb(other.whole()) == wanted, f"{name}: the picture is screendump's")
            checks.holds(encoding in other.seen, f"{name} is what it came in")
            other.close()
        for version in (b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.889\n"):
            old = Client(address, version=version) if version != b"RFB 003.889\n" else None
            if old:
                checks.holds(rgb(old.whole()) == wanted, f"{version.decode().strip()}: the same picture")
                old.close()
        deadline = time.monotonic() + vmm.PATIENCE
        while len(vm.qmp.call("query-vnc")["return"]["clients"]) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        listed = vm.qmp.call("query-vnc")["return"]
        checks.same((listed["enabled"], len(listed["clients"]), listed["service"]), (True, 1, str(5900 + number)), "query-vnc")
        for event in ("VNC_CONNECTED", "VNC_INITIALIZED", "VNC_DISCONNECTED"):
            data = vm.qmp.event(event)["data"]
            checks.same((data["server"]["service"], data["client"]["family"]), (str(5900 + number), "ipv4"), event)
        real_viewers(checks, folder, number, (width, height, wanted))
        client.close()


def real_viewers(checks, folder, number, wanted):
    if shutil.which("gvnccapture"):
        path = folder.path / "gtk.png"
        subprocess.run(["gvnccapture", "-q", f"127.0.0.1:{number}", str(path)], timeout=30 * vmm.PATIENCE, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        checks.holds(path.exists() and png_pixels(path) == wanted, "gvnccapture: the picture is screendump's")
    if shutil.which("vncsnapshot"):
        for encoding in ("zlib", "corre"):
            path = folder.path / "snap.jpg"
            done = subprocess.run(["vncsnapshot", "-allowblank", "-quality", "100", "-encodings", encoding, f"127.0.0.1:{number}", str(path)],
                                  timeout=30 * vmm.PATIENCE, check=False, capture_output=True, text=True)
            size = f"{wanted[0]}x{wanted[1]} screen"
            checks.holds(done.returncode == 0 and size in done.stdout + done.stderr, f"vncsnapshot with {encoding}: {size}")
            path.unlink(missing_ok=True)


def sizes(checks, folder):
    """A boot sector that waits for R, shows 320x200 with a red band, waits for x, and starts again."""
    number = free_display()
    code = bytes.fromhex("b80300 cd10 b400 cd16 3c52 75f8 b81300 cd10 6800a0 07 31ff b90020 b004 f3aa b400 cd16 3c78 75f8 ebd7")
    disk = folder.path / "boot.img"
    disk.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes((1 << 20) - 512))
    with machine(folder, "-vnc", f"127.0.0.1:{number}", "-drive", f"file={disk},format=raw") as vm:
        vm.qmp.call("qmp_capabilities")
        client = Client(("127.0.0.1", 5900 + number))
        client.encodings(ZRLE, DESKTOP_SIZE)

        def becomes(size, *keys):
            deadline = time.monotonic() + vmm.PATIENCE
            while time.monotonic() < deadline:
                client.press(*keys)
                client.request()
                client.update()
                if (client.width, client.height) in size:
                    return True
            return False

        small = [(320, 200), (640, 400)]
        checks.holds(becomes(small, ord("r"), ord("R")), "a capital letter typed by its keysym alone changes the mode, and the size with it")
        width, height, wanted = dump(vm, folder)
        checks.same(wanted[:3], b"\0\0\xa8", "its colour")
        checks.holds((client.width, client.height) == (width, height) and rgb(client.whole()) == wanted, "the picture of that size")
        checks.holds(becomes([(720, 400)], ord("x")), "and back")
        client.close()


def passwords(checks, folder):
    number = free_display()
    address = ("127.0.0.1", 5900 + number)

    def try_it(password, version=b"RFB 003.008\n"):
        try:
            Client(address, password, version=version).close()
            return True
        except Refused:
            return False

    with machine(folder, "-S", "-vnc", f"127.0.0.1:{number},password=on") as vm:
        vm.qmp.call("qmp_capabilities")
        checks.same(vm.qmp.call("query-vnc")["return"]["auth"], "vnc", "query-vnc says so")
        checks.holds(not try_it(""), "without a password set nobody gets in")
        vm.qmp.human("change vnc password right1")
        checks.holds(try_it("right1"), "the right one")
        checks.holds(try_it("right1", b"RFB 003.003\n"), "the right one in RFB 3.3")
        checks.holds(not try_it("wrong"), "a wrong one")
        vm.qmp.call("set_password", protocol="vnc", password="right2")
        checks.holds(not try_it("right1") and try_it("right2"), "it can be changed")
        vm.qmp.call("expire_password", protocol="vnc", time="now")
        checks.holds(not try_it("right2"), "it expires")
        vm.qmp.call("expire_password", protocol="vnc", time="+100")
        checks.holds(try_it("right2"), "and is good again")
    with vmm.Terminal([vmm.VMM, "-nodefaults", "-S", "-vnc", f"127.0.0.1:{number},password=on", "-monitor", "stdio"]) as terminal:
        terminal.until(rb"\(qemu\) ")
        terminal.type(b"change vnc password\r")
        terminal.until(rb"Password: ")
        terminal.type(b"typed\r")
        shown = terminal.until(rb"\(qemu\) ")
        checks.same(shown.count(b"*"), 5, "a password that is asked for shows as asterisks")
        checks.holds(b"typed" not in shown and try_it("typed"), "and is the right one then")


def certificate(folder):
    certificate, key = folder.path / "cert.pem", folder.path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout",
                    str(key), "-out", str(certificate)], check=True, capture_output=True)
    return f"tls-cert={certificate},tls-key={key}"


def transports(checks, folder):
    number = free_display()
    path = folder.path / "vnc.socket"
    viewer = socket.socket()
    viewer.bind(("127.0.0.1", 0))
    viewer.listen()
    with machine(folder, "-S", "-vnc", f"127.0.0.1:{number},websocket=on", "-vnc", f"unix:{path}", "-vnc",
                 f"127.0.0.1:{number},to=99,password=on,{certificate(folder)}", "-vnc",
                 f"127.0.0.1:{viewer.getsockname()[1]},reverse=on") as vm:
        vm.qmp.call("qmp_capabilities")
        servers = vm.qmp.call("query-vnc-servers")["return"]
        checks.same([server["id"] for server in servers], ["default", "vnc2", "vnc3", "vnc4"], "the servers")
        client = Client(str(path))
        checks.holds(len(client.whole()) == client.width * client.height * 4, "a picture through a Unix socket")
        client.close()
        client = Client(("127.0.0.1", 5700 + number), websocket=True)
        checks.holds(len(client.whole()) == client.width * client.height * 4, "a picture through a WebSocket")
        client.press(ord("a"))
        client.close()
        vm.qmp.human("set_password vnc secret -d vnc3")
        port = int(servers[2]["server"][0]["service"])
        checks.holds(port != 5900 + number, "to= found another port")
        client = Client(("127.0.0.1", port), "secret")
        checks.holds(len(client.whole()) == client.width * client.height * 4, f"a picture through {client.tls}, behind a password")
        client.close()
        try:
            Client(("127.0.0.1", port), "wrong")
            checks.holds(False, "TLS: a wrong password")
        except Refused:
            checks.holds(True, "TLS: a wrong password")
        viewer.settimeout(vmm.PATIENCE)
        connection = viewer.accept()[0]
        connection.settimeout(vmm.PATIENCE)
        client = Client.__new__(Client)
        client.sock = connection
        client.handshake(None, True, b"RFB 003.008\n")
        checks.holds(len(client.whole()) == client.width * client.height * 4, "a picture to a viewer that listens (reverse=on)")
        client.close()
        vm.qmp.call("quit")
        vm.process.wait(vmm.PATIENCE)
    checks.holds(not path.exists(), "the Unix socket is removed")

    default_server(checks, folder)


def default_server(checks, folder):
    """Firmware and no word about a display: a server on a port of its own choice, on the loopback interface."""
    command = [vmm.VMM, "-accel", os.environ.get("XUNI_ACCEL", "translate"), "-m", "64", "-nic", "none", "-serial", "none", "-monitor", "none", "-S"]
    for extra, wanted in ((), True), (["-vga", "none"], False), (["-kernel", folder.kernel], False), (["-display", "none"], False):
        with subprocess.Popen([*command, *extra], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                if wanted:
                    found = re.match(rb"VNC server running on 127\.0\.0\.1:(59\d\d)\n", process.stderr.readline())
                    client = Client(("127.0.0.1", int(found[1])))
                    checks.holds(len(client.whole()) == client.width * client.height * 4, "the screen of a PC without -display")
                    client.close()
                else:
                    checks.holds(not select.select([process.stderr], [], [], 1)[0], f"no server with {extra[0]}")
            finally:
                process.terminate()


def hostile(checks, folder):
    number = free_display()
    address = ("127.0.0.1", 5900 + number)
    with machine(folder, "-vnc", f"127.0.0.1:{number},connections=12") as vm:
        vm.qmp.call("qmp_capabilities")
        good = Client(address)
        good.encodings(RAW, DESKTOP_SIZE)
        good.whole()
        stalled = []
        for what in (b"", b"RFB", b"RFB 003.008\n", b"GARBAGE\n" * 100, b"RFB 003.008\n\1\1" + b"\2\0\xff\xff", b"GET / HTTP/1.1\r\n"):
            sock = socket.create_connection(address)
            sock.sendall(what)
            stalled.append(sock)
        # Asks for pictures and does not read them.
        deaf = Client(address)
        deaf.encodings(RAW, DESKTOP_SIZE)
        for _ in range(200):
            deaf.request()
        # Messages that promise much.
        for message in (struct.pack(">BxxxI", 6, 0x7fffffff), struct.pack(">BxH", 2, 0xffff), b"\xff\x07", b"\x63",
                        struct.pack(">BBHII", 255, 0, 1, 0xffffffff, 0xffffffff), struct.pack(">BxxxI", 6, 0xfffffff0)):
            liar = Client(address)
            liar.send(message)
            liar.close()
        started = time.monotonic()
        checks.same(vm.qmp.call("query-status")["return"]["status"], "running", "the machine runs")
        checks.holds(time.monotonic() - started < 1, "and the monitor answers at once")
        started = time.monotonic()
        good.whole()
        checks.holds(time.monotonic() - started < 3 * max(1, vmm.PATIENCE / 30), "and a good client gets its picture")
        for sock in stalled:
            sock.close()
        deaf.close()
        alone = Client(address, shared=False)
        alone.whole()
        try:
            good.whole()
            checks.holds(False, "an exclusive client sends others away")
        except (Refused, OSError):
            checks.holds(True, "an exclusive client sends others away")
        more = []
        try:
            for _ in range(20):
                more.append(Client(address, timeout=3))
            checks.holds(False, "connections= is the most")
        except (Refused, OSError):
            checks.holds(True, "connections= is the most")
        vm.qmp.call("quit")
        checks.same(vm.process.wait(vmm.PATIENCE), 0, "quit with clients there")


PKI = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca-key.pem -out ca-cert.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=stranger -keyout stranger-key.pem -out stranger-cert.pem
for name in server client; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$name -keyout $name-key.pem -out $name.csr
  openssl x509 -req -in $name.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out $name-cert.pem
done
"""


def credentials(checks, folder):
    """tls-creds= and password-secret= with qemu's objects."""
    subprocess.run(["sh", "-ec", PKI], cwd=folder.path, check=True, capture_output=True)
    (folder.path / "password").write_text("from fil")
    known, anonymous, secret = (free_display() for _ in range(3))

    def attempt(port, password=None, context=None, **options):
        try:
            client = Client(("127.0.0.1", 5900 + port), password, context=context, **options)
            picture = client.whole()
            client.close()
            return client if len(picture) == client.width * client.height * 4 else None
        except (Refused, OSError):
            return None

    def with_certificate(name):
        context = trusting()
        context.load_cert_chain(folder.path / f"{name}-cert.pem", folder.path / f"{name}-key.pem")
        return context

    with machine(folder, "-S", "-object", f"tls-creds-x509,id=known,dir={folder.path},endpoint=server", "-object",
                 "tls-creds-anon,id=anonymous,endpoint=server", "-object", f"secret,id=password,file={folder.path}/password",
                 "-vnc", f"127.0.0.1:{known},tls-creds=known,websocket=on", "-vnc", f"127.0.0.1:{anonymous},tls-creds=anonymous,password=on",
                 "-vnc", f"127.0.0.1:{secret},password-secret=password") as vm:
        vm.qmp.call("qmp_capabilities")
        checks.holds(attempt(known, context=with_certificate("client")), "a client with a certificate of the authority")
        staying = Client(("127.0.0.1", 5900 + known), context=with_certificate("client"))
        staying.whole()
        checks.same(vm.qmp.call("query-vnc")["return"]["clients"][-1].get("x509_dname"), "CN=client", "query-vnc names it")
        checks.holds("    x509_dname: CN=client\r\n" in vm.qmp.human("info vnc"), "info vnc names it")
        staying.close()
        checks.holds(not attempt(known), "one without a certificate")
        checks.holds(not attempt(known, context=with_certificate("stranger")), "one with another's")
        checks.holds(attempt(known - 200, context=with_certificate("client"), secure=True, websocket=True) and
                     not attempt(known - 200, context=with_certificate("stranger"), secure=True, websocket=True), "the same in a WebSocket")
        before = attempt(known, context=with_certificate("client")).certificate
        subprocess.run("openssl x509 -req -in server.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 3 -out server-cert.pem",
                       shell=True, cwd=folder.path, check=True, capture_output=True)
        checks.same(vm.qmp.call("display-reload", type="vnc", tls_certs=True), {"return": {}}, "display-reload")
        after = attempt(known, context=with_certificate("client")).certificate
        checks.holds(before and after and before != after, "the new certificate is shown after it")
        nobody = trusting()
        nobody.maximum_version = ssl.TLSVersion.TLSv1_2
        nobody.set_ciphers("ADH:AECDH:@SECLEVEL=0")
        vm.qmp.human("set_password vnc sesame -d vnc2")
        checks.holds(attempt(anonymous, "sesame", nobody), "TLS without a certificate, behind a password")
        checks.holds(not attempt(anonymous, "wrong", nobody), "a wrong one there")
        checks.holds(attempt(secret, "from fil") and not attempt(secret, ""), "the password of a secret")


def glyphs():
    """Bits of a character's cell -> the character, of the font that text consoles use."""
    for folder in ("/usr/share/seabios", "/usr/share/qemu", "/usr/lib/ipxe/qemu"):
        path = pathlib.Path(folder) / "vgabios-stdvga.bin"
        if path.exists():
            rom = path.read_bytes()
            at = rom.index(bytes.fromhex("000010386cc6c6fec6c6c6c6")) - 65 * 16
            return {rom[at + 16 * code:at + 16 * code + 16]: chr(code) for code in range(32, 127)}
    return vmm.skip("vgabios-stdvga.bin is not installed")


def characters(client, font):
    """The rows of a text console's picture."""
    rows = []
    for top in range(0, client.height - 15, 16):
        row = ""
        for left in range(0, client.width - 7, 8):
            cell = bytearray()
            for y in range(top, top + 16):
                at = (y * client.width + left) * 4
                cell.append(sum(0x80 >> x for x in range(8) if any(client.pixels[at + 4 * x:at + 4 * x + 3])))
            row += font.get(bytes(cell), "#")
        rows.append(row.rstrip())
    return rows


def consoles(checks, folder):
    """Ctrl-Alt-2 shows the monitor, Ctrl-Alt-3 the serial port, Ctrl-Alt-1 the screen again."""
    font, number = glyphs(), free_display()
    control, alt, enter, page_up = 0xffe3, 0xffe9, 0xff0d, 0xff55
    with vmm.QmpMachine(folder.command("-vnc", f"127.0.0.1:{number}", "-vga", "std", "-monitor", "vc:80Cx24C", "-serial", "vc:60Cx20C", "-qmp",
                                       "stdio")) as vm:
        vm.qmp.call("qmp_capabilities")
        client = Client(("127.0.0.1", 5900 + number))
        client.encodings(RAW, DESKTOP_SIZE, QEMU_KEYS)

        def until(size, wanted):
            deadline = time.monotonic() + vmm.PATIENCE
            rows = []
            while time.monotonic() < deadline:
                client.whole()
                rows = characters(client, font) if (client.width, client.height) == size else []
                if any(wanted in row for row in rows):
                    return True
            print((client.width, client.height), rows)
            return False

        def chord(*keysyms):
            for keysym in keysyms:
                client.key(keysym, True)
            for keysym in reversed(keysyms):
                client.key(keysym, False)

        def say(text):
            client.press(*(ord(character) for character in text), enter)

        chord(control, alt, ord("2"))
        checks.holds(until((640, 384), "(qemu)"), "the monitor")
        say("info name")
        say("info status")
        checks.holds(until((640, 384), "VM status: running"), "answers what is typed")
        say("help")
        checks.holds(until((640, 384), "x /fmt addr"), "and more than its rows")
        for _ in range(60):
            chord(control, page_up)
        checks.holds(until((640, 384), "VM status: running"), "Ctrl-PageUp shows what has gone")
        client.key_number(0x1d, True)
        client.key_number(0x38, True)
        client.key_number(0x04, True)
        for key in (0x04, 0x38, 0x1d):
            client.key_number(key, False)
        checks.holds(until((480, 320), "hi"), "the serial port, of another size; keys by their places")
        say("echoed 123")
        checks.holds(until((480, 320), "echoed 123"), "the guest echoes what is typed there")
        chord(control, alt, ord("1"))
        checks.holds(until_size(client, [(720, 400), (640, 480), (640, 400)]), "the screen again")
        chord(control, alt, ord("9"))
        chord(control, alt, ord("2"))
        checks.holds(until((640, 384), "(qemu)"), "a number without a console changes nothing")
        say("quit")
        checks.same(vm.process.wait(vmm.PATIENCE), 0, "quit typed there")


def until_size(client, sizes):
    deadline = time.monotonic() + vmm.PATIENCE
    while time.monotonic() < deadline:
        client.whole()
        if (client.width, client.height) in sizes:
            return True
    print((client.width, client.height))
    return False


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01"
VENCRYPT = b"RFB 003.008\n\x13\0\2\0\0\1\4"


def connect_and_say(port, what):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(what)
    return sock


def deaf_client(port, **options):
    """Asks for pictures and reads none."""
    client = Client(("127.0.0.1", port), **options)
    client.encodings(RAW, DESKTOP_SIZE)
    for _ in range(50):
        client.request()
    return client


def unfinished(plain, tls):
    """Peers that stop anywhere on the way, at the ports of two servers; those of WebSockets are 200 below."""
    said = {
        plain: (b"", b"R", b"RF", b"RFB", b"RFB 003.008\n", b"RFB 003.008\n\1", b"RFB 003.008\n\1\1\2\0\xff", b"\x16\x03", HELLO),
        plain - 200: (b"", b"G", b"GE", b"GET", b"GET / HTTP/1.1\r\nHost: ", REQUEST, REQUEST + KEY, REQUEST + KEY + b"\x82\xff\0",
                      REQUEST + KEY + b"\x82\x8c\0\0\0\0RFB", REQUEST + KEY + b"\x89\x80\0\0\0\0" * 99, b"GET " + b"x" * 5000, HELLO),
        tls: (b"", b"RFB", VENCRYPT[:14], VENCRYPT, VENCRYPT + HELLO, VENCRYPT + b"\x16\x03\x01" * 50),
        tls - 200: (b"", HELLO[:3], HELLO, REQUEST + KEY),
    }
    peers = [connect_and_say(port, what) for port, list_of_what in said.items() for what in list_of_what]
    peers += [deaf_client(plain), deaf_client(plain - 200, websocket=True), deaf_client(tls), deaf_client(tls - 200, secure=True, websocket=True)]
    return peers


def peers(checks, folder):
    """None of them holds a thread or costs time."""
    plain, tls = 5900 + free_display(), 5900 + free_display()
    with machine(folder, "-S", "-vnc", f"127.0.0.1:{plain - 5900},websocket=on,connections=99", "-vnc",
                 f"127.0.0.1:{tls - 5900},websocket=on,connections=99,{certificate(folder)}") as vm:
        vm.qmp.call("qmp_capabilities")

        def connected():
            return sum(len(server["clients"]) for server in vm.qmp.call("query-vnc-servers")["return"])

        for peer in unfinished(plain, tls):
            peer.close()
        deadline = time.monotonic() + vmm.PATIENCE
        while connected() and time.monotonic() < deadline:
            time.sleep(0.1)
        checks.same(connected(), 0, "who leaves half way is forgotten")
        staying = unfinished(plain, tls)
        for word in (b"R", b"F", b"B", b" "):
            staying[0].sendall(word)
            time.sleep(0.2)
        before, started = cpu_seconds(vm.process.pid), time.monotonic()
        time.sleep(1.5)
        share = (cpu_seconds(vm.process.pid) - before) / (time.monotonic() - started)
        checks.holds(share < 0.15, f"who stays half way costs no time ({share:.2f} of a CPU)")
        checks.holds(connected() > 20, f"{connected()} of them are there")
        with socket.create_connection(("127.0.0.1", plain - 200)) as sock:
            sock.sendall(REQUEST.replace(b"13", b"12") + KEY)
            sock.settimeout(vmm.PATIENCE)
            checks.same(sock.recv(12), b"HTTP/1.1 400", "a WebSocket of another version is refused")
        good = Client(("127.0.0.1", tls - 200), secure=True, websocket=True)
        checks.holds(len(good.whole()) == good.width * good.height * 4, "a good client gets its picture beside them, in a WebSocket in TLS")
        vm.qmp.call("quit")
        checks.same(vm.process.wait(vmm.PATIENCE), 0, "quit with all of them there")


def main():
    checks = vmm.Checks()
    if not (pathlib.Path(vmm.VMM).parent / "display-vnc.so").exists():
        vmm.skip("the VNC module was not built: libvncserver or libxkbcommon is missing")
    cases = {"pictures": pictures, "sizes": sizes, "passwords": passwords, "transports": transports, "hostile": hostile, "peers": peers, "credentials": credentials, "consoles": consoles}
    with vmm.Folder() as folder:
        cases[sys.argv[1]](checks, folder)
    checks.end()


if __name__ == "__main__":
    main()
