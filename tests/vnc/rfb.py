# SPDX-License-Identifier: GPL-2.0-or-later
"""A small RFB client (RFC 6143) for the tests: raw, hextile and zrle pictures, keys, pointer, cut text, qemu's extensions;
over TCP, Unix sockets, WebSockets and TLS (VeNCrypt)."""
import base64
import ctypes
import os
import socket
import ssl
import struct
import zlib

RAW, HEXTILE, ZRLE, DESKTOP_SIZE, QEMU_POINTER, QEMU_KEYS, QEMU_LED = 0, 5, 16, -223, -257, -258, -261


class Refused(Exception):
    pass


class WebSocket:
    """Frames of binary data both ways, as far as a VNC server needs them."""

    def __init__(self, sock, host):
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall((f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                      f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\nOrigin: http://{host}\r\n\r\n").encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            more = sock.recv(1)
            if not more:
                raise Refused("closed")
            answer += more
        assert b" 101 " in answer, answer
        self.sock, self.data = sock, b""

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise Refused("closed")
            data += more
        return data

    def recv(self, count):
        while not self.data:
            first, length = self.exactly(2)
            length &= 0x7f
            if length == 126:
                length = struct.unpack(">H", self.exactly(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self.exactly(8))[0]
            payload = self.exactly(length)
            if first & 0xf == 8:
                raise Refused("closed")
            self.data += payload
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def sendall(self, data):
        mask = os.urandom(4)
        head = bytes([0x82, 0x80 | len(data)]) if len(data) < 126 else struct.pack(">BBH", 0x82, 0x80 | 126, len(data))
        self.sock.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def close(self):
        self.sock.close()


def response(challenge, password):
    """DES is nowhere in Python: the library's own."""
    buffer = ctypes.create_string_buffer(challenge, 16)
    ctypes.CDLL("libvncserver.so.1").rfbEncryptBytes(buffer, password.encode())
    return buffer.raw[:16]


def trusting():
    """A TLS context that takes any certificate, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Client:
    def __init__(self, address, password=None, websocket=False, shared=True, version=b"RFB 003.008\n", timeout=20, secure=False, context=None):
        self.context = context
        self.sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        if secure:
            self.secure()
        if websocket:
            self.sock = WebSocket(self.sock, f"{address[0]}:{address[1]}")
        self.handshake(password, shared, version)

    def handshake(self, password, shared, version):
        self.version = self.exactly(12)
        self.send(version)
        if version < b"RFB 003.007\n":
            self.type = struct.unpack(">I", self.exactly(4))[0]
        else:
            types = self.exactly(self.exactly(1)[0])
            self.type = types[0]
            self.send(types[:1])
        if self.type == 19:
            self.start_tls()
        if self.type == 2:
            self.send(response(self.exactly(16), password or ""))
        if self.type == 2 or version >= b"RFB 003.008\n":
            if struct.unpack(">I", self.exactly(4))[0]:
                raise Refused(self.exactly(struct.unpack(">I", self.exactly(4))[0]) if version >= b"RFB 003.008\n" else "")
        self.send(bytes([shared]))
        self.width, self.height = struct.unpack(">HH", self.exactly(4))
        self.format = self.exactly(16)
        self.name = self.exactly(struct.unpack(">I", self.exactly(4))[0]).decode()
        self.pixels = bytearray(self.width * self.height * 4)
        self.inflate = zlib.decompressobj()
        self.seen = []
        self.keys = self.led = self.absolute = None

    def start_tls(self):
        assert self.exactly(2) == b"\0\2"
        self.send(b"\0\2")
        assert self.exactly(1) == b"\0"
        count = self.exactly(1)[0]
        subtype = struct.unpack(f">{count}I", self.exactly(4 * count))[0]
        self.send(struct.pack(">I", subtype))
        assert self.exactly(1) == b"\1"
        self.secure()
        self.type = {257: 1, 258: 2, 260: 1, 261: 2}[subtype]

    def secure(self):
        context = self.context or trusting()
        self.sock = context.wrap_socket(self.sock)
        self.tls, self.certificate = self.sock.version(), self.sock.getpeercert(True)

    def exactly(self, count):
        data = bytearray()
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise Refused("closed")
            data += more
        return bytes(data)

    def send(self, data):
        self.sock.sendall(data)

    def close(self):
        self.sock.close()

    # --- requests ---

    def encodings(self, *numbers):
        self.send(struct.pack(f">BBH{len(numbers)}i", 2, 0, len(numbers), *numbers))

    def request(self, incremental=False):
        self.send(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def key(self, keysym, down):
        self.send(struct.pack(">BBHI", 4, down, 0, keysym))

    def press(self, *keysyms):
        for keysym in keysyms:
            self.key(keysym, True)
            self.key(keysym, False)

    def key_number(self, number, down, keysym=0):
        self.send(struct.pack(">BBHII", 255, 0, down, keysym, number))

    def pointer(self, buttons, x, y):
        self.send(struct.pack(">BBHH", 5, buttons, x, y))

    def cut_text(self, text):
        data = text.encode("latin-1")
        self.send(struct.pack(">BxxxI", 6, len(data)) + data)

    # --- updates ---

    def update(self):
        """Reads messages up to an update with a picture, or with a new size."""
        while True:
            kind = self.exactly(1)[0]
            if kind == 2:
                continue
            if kind == 3:
                self.exactly(3)
                self.exactly(struct.unpack(">I", self.exactly(4))[0])
                continue
            assert kind == 0, f"message {kind}"
            rects = [self.rect() for _ in range(struct.unpack(">xH", self.exactly(3))[0])]
            if any(encoding >= 0 or encoding == DESKTOP_SIZE for encoding in rects):
                return rects

    def whole(self):
        """The whole picture."""
        self.request()
        while DESKTOP_SIZE in self.update():
            self.request()
        return bytes(self.pixels)

    def put(self, x, y, width, height, data):
        for row in range(height):
            at = ((y + row) * self.width + x) * 4
            self.pixels[at:at + width * 4] = data[row * width * 4:(row + 1) * width * 4]

    def rect(self):
        x, y, width, height, encoding = struct.unpack(">HHHHi", self.exactly(12))
        self.seen.append(encoding)
        if encoding == DESKTOP_SIZE:
            self.width, self.height = width, height
            self.pixels = bytearray(width * height * 4)
        elif encoding == QEMU_KEYS:
            self.keys = True
        elif encoding == QEMU_POINTER:
            self.absolute = bool(x)
        elif encoding == QEMU_LED:
            self.led = self.exactly(1)[0]
        elif encoding == RAW:
            self.put(x, y, width, height, self.exactly(width * height * 4))
        elif encoding == HEXTILE:
            self.hextile(x, y, width, height)
        elif encoding == ZRLE:
            self.zrle(x, y, width, height)
        else:
            raise AssertionError(f"encoding {encoding}")
        return encoding

    def hextile(self, x, y, width, height):
        background = foreground = b"\0\0\0\0"
        for top in range(y, y + height, 16):
            for left in range(x, x + width, 16):
                w, h = min(16, x + width - left), min(16, y + height - top)
                flags = self.exactly(1)[0]
                if flags & 1:
                    self.put(left, top, w, h, self.exactly(w * h * 4))
                    continue
                background = self.exactly(4) if flags & 2 else background
                foreground = self.exactly(4) if flags & 4 else foreground
                self.put(left, top, w, h, background * (w * h))
                for _ in range(self.exactly(1)[0] if flags & 8 else 0):
                    colour = self.exactly(4) if flags & 16 else foreground
                    place, size = self.exactly(2)
                    sw, sh = (size >> 4) + 1, (size & 15) + 1
                    self.put(left + (place >> 4), top + (place & 15), sw, sh, colour * (sw * sh))

    def zrle(self, x, y, width, height):
        data = self.inflate.decompress(self.exactly(struct.unpack(">I", self.exactly(4))[0]))
        at = 0

        def take(count):
            nonlocal at
            at += count
            return data[at - count:at]

        def run():
            length = 1
            while True:
                byte = take(1)[0]
                length += byte
                if byte != 255:
                    return length

        for top in range(y, y + height, 64):
            for left in range(x, x + width, 64):
                w, h = min(64, x + width - left), min(64, y + height - top)
                kind = take(1)[0]
                size = kind & 0x7f
                if kind == 0:
                    tile = b"".join(take(3) + b"\0" for _ in range(w * h))
                elif kind == 1:
                    tile = (take(3) + b"\0") * (w * h)
                elif kind < 128:
                    palette = [take(3) + b"\0" for _ in range(size)]
                    bits = 1 if size == 2 else 2 if size <= 4 else 4
                    tile = b""
                    for _ in range(h):
                        packed = int.from_bytes(take((w * bits + 7) // 8), "big")
                        total = (w * bits + 7) // 8 * 8
                        tile += b"".join(palette[packed >> (total - bits * (i + 1)) & ((1 << bits) - 1)] for i in range(w))
                elif kind == 128:
                    tile = b""
                    while len(tile) < w * h * 4:
                        pixel = take(3) + b"\0"
                        tile += pixel * run()
                else:
                    palette = [take(3) + b"\0" for _ in range(size)]
                    tile = b""
                    while len(tile) < w * h * 4:
                        index = take(1)[0]
                        tile += palette[index & 0x7f] * (run() if index & 0x80 else 1)
                self.put(left, top, w, h, tile)
