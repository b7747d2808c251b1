# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian mirror that has what one installation needs and no more, served on loopback.

The packages come through the host's apt, which verifies them, and stay in a cache; the indices are made here and have no signature.
Components of the installer (udebs) that apt does not know come from where apt has Debian from, verified by the archive's index, which
apt verifies as well; some are made here out of the packages that hold the same programs.
"""
import gzip
import hashlib
import http.server
import lzma
import pathlib
import re
import subprocess
import threading
import urllib.parse
import urllib.request

from system import run, skip

MOST_BYTES = 160 << 20


def package(arguments):
    """What a command of the host prints."""
    return subprocess.run([str(a) for a in arguments], check=True, capture_output=True, text=True).stdout


def fields(stanza):
    """{name: value} of a paragraph of an index; only the first line of values that have more."""
    return dict(re.findall(r"^([A-Za-z0-9-]+): *(.*)$", stanza, re.M))


class Archive:
    """What the host's apt can get, in a place of its own that does not know what the host has installed."""

    def __init__(self, cache):
        self.debs = cache / "debs"
        self.udebs = cache / "udebs"
        for folder in [self.debs / "partial", self.udebs, cache / "none/partial"]:
            folder.mkdir(parents=True, exist_ok=True)
        (cache / "status").write_text("")
        self.none = cache / "none"
        self.apt = ["apt-get", "-qq", "-o", f"Dir::State::status={cache}/status", "-o", "Debug::NoLocking=1",
                    "-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=root"]

    def required(self):
        """The names of the packages that every Debian has."""
        stanzas = package(["apt-cache", "dumpavail"]).split("\n\n")
        return sorted({fields(s)["Package"] for s in stanzas if re.search("^Priority: required$", s, re.M)})

    def packages(self, names):
        """Downloads them with all that they depend on; returns the files."""
        words = ["install", *names]
        listed = [line.split() for line in package([*self.apt, "-o", f"Dir::Cache::archives={self.none}", "--print-uris",
                                                    *words]).splitlines() if line.startswith("'")]
        size = sum(int(line[2]) for line in listed)
        if size > MOST_BYTES:
            raise RuntimeError(f"the packages have {size} bytes, more than {MOST_BYTES}")
        run(*self.apt, "-y", "-o", f"Dir::Cache::archives={self.debs}", "--download-only", *words)
        return [self.debs / line[1] for line in listed]

    def components(self, names):
        """Downloads the installer's components of these names; returns the files."""
        base, index = self.component_index()
        files = []
        for name in names:
            entry = index.get(name) or skip(f"the Debian archive has no {name}")
            file = self.udebs / pathlib.Path(entry["Filename"]).name
            if not file.exists():
                body = self.fetch(f"{base}/{urllib.parse.quote(entry['Filename'])}")
                if hashlib.sha256(body).hexdigest() != entry["SHA256"]:
                    raise RuntimeError(f"{file.name} from {base} is damaged")
                file.write_bytes(body)
            files.append(file)
        return files

    def component_index(self):
        """Of Debian's main archive: (its address, {name: fields})."""
        wanted = ["$(CREATED_BY)", "$(REPO_URI)", "$(CODENAME)", "$(FILENAME)"]
        rows = [line.split("|") for line in package(["apt-get", "indextargets", "--format", "|".join(wanted)]).splitlines()]
        row = next((r for r in rows if r[0] == "Packages" and r[1].startswith("http:") and r[1].rstrip("/").endswith("/debian")), None)
        if not row:
            skip("the host's apt has no Debian mirror with http:")
        base, path = row[1].rstrip("/"), "main/debian-installer/binary-amd64/Packages.xz"
        release = next(pathlib.Path(row[3]).parent.glob(f"*_dists_{row[2]}_InRelease")).read_text()
        body = self.fetch(f"{base}/dists/{row[2]}/{path}")
        if f" {hashlib.sha256(body).hexdigest()} " not in [line[:66] for line in release.splitlines() if line.endswith(path)]:
            skip(f"{path} of {base} is newer than the host's list; run apt-get update")
        return base, {f["Package"]: f for f in map(fields, lzma.decompress(body).decode().split("\n\n")) if "Package" in f}

    @staticmethod
    def fetch(address):
        try:
            return urllib.request.urlopen(address, timeout=60).read()
        except OSError as error:
            skip(f"{address}: {error}")


def component(folder, name, control, sources=(), keep=(), files=None, postinst=None):
    """Makes a component of the installer out of files of packages (those whose path begins with one of `keep`) and others; returns its path."""
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    for source in sources:
        run("dpkg-deb", "-x", source, folder / "unpacked")
    for path in sorted((folder / "unpacked").rglob("*")) if sources else []:
        place = path.relative_to(folder / "unpacked")
        if str(place).startswith(tuple(keep)) and (path.is_symlink() or path.is_file()):
            (tree / place).parent.mkdir(parents=True, exist_ok=True)
            path.rename(tree / place)
    run("rm", "-rf", folder / "unpacked")
    for path, source in (files or {}).items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(source.read_bytes())
        (tree / path).chmod(0o755)
    if postinst:
        (tree / "DEBIAN/postinst").write_bytes(postinst.read_bytes())
        (tree / "DEBIAN/postinst").chmod(0o755)
    title = fields(control)["Description"]
    (tree / "DEBIAN/templates").write_text(f"Template: debian-installer/{name}/title\nType: text\nDescription: {title}\n")
    (tree / "DEBIAN/control").write_text(f"Package: {name}\nVersion: 1\nArchitecture: all\nSection: debian-installer\nPriority: standard\n"
                                         f"Maintainer: nobody <nobody@invalid>\n{control}")
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, folder / f"{name}.udeb")
    return folder / f"{name}.udeb"


class Mirror:
    """Serves texts at their paths, and under /debian the distribution `codename` with these packages and components."""

    def __init__(self, codename, debs, udebs):
        self.codename = codename
        self.bodies, self.files, self.missed = {}, {}, []
        self.served_bytes = 0
        sums = []
        for path, files in [("main/binary-amd64/Packages", debs), ("main/debian-installer/binary-amd64/Packages", udebs)]:
            index = "\n".join(self.stanza(file) for file in files).encode()
            for name, body in [(path, index), (path + ".gz", gzip.compress(index))]:
                self.bodies[f"/debian/dists/{codename}/{name}"] = body
                sums.append(f" {hashlib.sha256(body).hexdigest()} {len(body)} {name}\n")
        self.bodies[f"/debian/dists/{codename}/Release"] = (
            f"Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: {codename}\nDate: Sat, 01 Jul 2023 00:00:00 UTC\n"
            f"Architectures: amd64\nComponents: main\nDescription: for one test\nSHA256:\n{''.join(sums)}").encode()
        self.bodies[f"/debian/dists/{codename}/main/binary-amd64/Release"] = b"Component: main\nArchitecture: amd64\n"
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = mirror.body(urllib.parse.unquote(self.path))
                if body is None:
                    mirror.missed.append(self.path)
                    self.send_error(404)
                    return
                mirror.served_bytes += len(body)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stanza(self, file):
        """The paragraph of an index for a file that is served from now on."""
        control = package(["dpkg-deb", "-f", file])
        about, body = fields(control), file.read_bytes()
        place = f"pool/{about['Package']}_{about['Architecture']}{file.suffix}"
        self.files["/debian/" + place] = file
        return f"{control}Filename: {place}\nSize: {len(body)}\nSHA256: {hashlib.sha256(body).hexdigest()}\n"

    def body(self, path):
        return self.files[path].read_bytes() if path in self.files else self.bodies.get(path)
