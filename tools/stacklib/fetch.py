# SPDX-License-Identifier: MIT
"""The root file system and FerretDB: built once, kept in the cache by what they are made of.

Each is built under a temporary name and renamed when it is complete. A lock per name keeps two
builders apart. Nothing else writes into the cache.
"""
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import sandbox
from .layout import EX_UNAVAILABLE, EX_USAGE, ROOT, StackError, disk_room

SUITE = "forky"
PACKAGES = ["postgresql-18-documentdb", "rabbitmq-server", "redis-server", "python3"]
GO_PACKAGES = ["golang-1.26-go", "ca-certificates"]
FERRETDB = "v2.7.0"
RELEASES = {"12": "bookworm", "13": "trixie"}  # the versions that the README promises
RELEASE_PACKAGES = ["openssl", "postgresql-client", "python3-pika", "python3-psycopg2", "python3-pymongo",
                    "python3-redis", "redis-server"]
RECIPE = 1  # raise it when the build changes
FALLBACK_MIRROR = "http://deb.debian.org/debian"
NEEDED = {"postgresql-18": "postgres", "postgresql-18-documentdb": "docstore",
          "rabbitmq-server": "rabbitmq", "redis-server": "redis", "python3": "mail"}
APT_SETTING = re.compile(r'^(Acquire::(?:Check-Valid-Until|Check-Date|Retries|ForceIPv[46]|'
                         r'https?::[A-Za-z:.-]+)) "(.+)";$')


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "onboard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_tools():
    """Names missing host tools, and how to install them."""
    wanted = [("bwrap", "bubblewrap"), ("mmdebstrap", "mmdebstrap"), ("setpriv", "util-linux"),
              ("tar", "tar")]
    if os.getuid() != 0:
        wanted.append(("newuidmap", "uidmap"))
    missing = [package for tool, package in wanted if shutil.which(tool) is None]
    if missing:
        raise StackError(f"missing on this machine: {' '.join(missing)}. Fix: tools/setup stack (or "
                         f"apt-get install {' '.join(missing)})", EX_UNAVAILABLE)
    code, out = sandbox.run(["bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/",
                             "true"], 20)
    if code != 0:
        raise StackError("bubblewrap cannot make a user namespace here: "
                         f"{(out.strip().splitlines() or ['no reason given'])[-1]}. Fix: as root, "
                         "sysctl kernel.unprivileged_userns_clone=1 (and "
                         "kernel.apparmor_restrict_unprivileged_userns=0)", EX_UNAVAILABLE)


def _capture(*argv):
    try:
        return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              check=False).stdout
    except OSError:
        return ""


def mirror():
    """The mirror from which this machine's apt gets Debian's main archive."""
    release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release", encoding="utf-8")
                   if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    listing = _capture("apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
                       "Created-By: Packages")
    for line in listing.splitlines():
        uri, suite, component = (line.split("|") + ["", ""])[:3]
        if component != "main" or suite not in (codename, "stable", "testing", "sid", "unstable"):
            continue
        if release.get("ID") != "debian" and "debian" not in uri:
            continue
        if uri.startswith("mirror+file:"):  # cloud images: a file with a list of mirrors
            try:
                entries = Path(uri[len("mirror+file:"):].rstrip("/")).read_text().split()
            except OSError:
                continue
            uri = next((one for one in entries if one.startswith("http")), "")
        if uri.startswith(("http://", "https://", "file:")):
            return uri.rstrip("/")
    return FALLBACK_MIRROR


def apt_options():
    """The machine's apt settings that say how to reach and trust the archive."""
    found = [APT_SETTING.match(line) for line in _capture("apt-config", "dump").splitlines()]
    return [f'--aptopt={m.group(1)} "{m.group(2)}"' for m in found if m]


class Progress:
    """Rewrites one line on a terminal; elsewhere prints a line every few seconds."""

    def __init__(self, title, out=sys.stderr):
        self.title, self.out = title, out
        self.began = self.last = time.monotonic()
        self.live = out.isatty()
        self.shown = ""
        print(f"stack: {title} (once, then cached)", file=out, flush=True)

    def step(self, text, force=False):
        now = time.monotonic()
        if text == self.shown or (not force and now - self.last < (0.2 if self.live else 3)):
            return
        self.last, self.shown = now, text
        line = f"  {now - self.began:4.0f} s  {text}"
        print(f"\r{line[:100]:<100}" if self.live else line, end="" if self.live else "\n",
              file=self.out, flush=True)

    def done(self):
        self.step("done", force=True)
        if self.live:
            print(file=self.out, flush=True)


def _cached(name, build):
    """The cache's entry of that name; builds it if it does not exist."""
    cache = cache_dir()
    final = cache / name
    if final.exists():
        return final
    with open(cache / f".{name}.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"stack: waiting for another builder of {name}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if final.exists():
            return final
        temp = cache / f".{name}.tmp"
        _remove(temp)  # a killed builder left it: we hold its lock
        temp.mkdir()
        try:
            build(temp)
            os.rename(temp / "out", final)
        except OSError as error:
            raise StackError(f"cannot build {name}: {error}") from error
        finally:
            _remove(temp)
    return final


def _remove(path):
    if path.exists():
        subprocess.run(["chmod", "-R", "u+rwX", str(path)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(path, ignore_errors=True)


def _fail(what, log, path, fix):
    free, total = disk_room(path)
    text = "\n".join(log)
    if "No space left on device" in text or free < 50:
        fix = f"the disk that holds {path} is full ({free} of {total} MB free): make room"
    elif re.search(r"not valid yet|is expired|Release file .* expired", text):
        fix = "the archive's Release file is out of date for this machine's clock: check the date"
    errors = [line for line in log if re.match(r"^(E|W|Err|error|go): ?", line)]
    raise StackError(f"{what} failed: {(errors or log or ['no output'])[-1]}. Fix: {fix}",
                     EX_UNAVAILABLE, log[-8:])


def _debootstrap(packages, title, suite=SUITE, owners=False):
    """A builder of a root file system: mmdebstrap makes a tar, we unpack it as ourselves, so that
    a plain user owns all of it. owners: as it was made, which only root can."""
    def build(temp):
        source, progress = mirror(), Progress(title)
        line = ["mmdebstrap", "--variant=minbase", "--format=tar", "--verbose",
                f"--include={','.join(packages)}", '--aptopt=APT::Install-Recommends "false"',
                *apt_options()]
        for folder in ("doc", "man", "info", "locale"):
            line.append(f"--dpkgopt=path-exclude=/usr/share/{folder}/*")
        line += [suite, "-", source]
        # Root's mmdebstrap mounts: in a mount and pid namespace of its own, so that nothing stays
        # behind whoever kills it. A plain user's makes its own namespaces and tidies up at TERM.
        environ = {**os.environ, "LC_ALL": "C.UTF-8"}
        if os.getuid() == 0:
            (temp / "work").mkdir()
            environ["TMPDIR"] = str(temp / "work")
            line = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork",
                    "--kill-child", "--mount-proc", *line]
        else:
            line = ["setpriv", "--pdeathsig", "TERM", *line]
        out = temp / "out"
        out.mkdir()
        maker = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ,
                                 stdin=subprocess.DEVNULL, text=True, errors="replace")
        mode = "same" if owners else "no-same"
        unpack = subprocess.Popen(["tar", "-x", "-C", str(out), f"--{mode}-owner",
                                   f"--{mode}-permissions", "--exclude=./dev/*"],
                                  stdin=maker.stdout, stderr=subprocess.PIPE, text=True)
        maker.stdout.close()
        with _ended(maker, unpack):
            log = _follow(maker, progress)
        trouble = unpack.communicate()[1].splitlines()
        if maker.wait() != 0 or unpack.returncode != 0:
            _fail(f"fetching Debian packages from {source}", log + trouble, temp,
                  "check the network and this machine's apt (apt-get update), then try again")
        (out / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (out / "versions.json").write_text(json.dumps(_versions(out)))
        progress.done()
    return build


@contextlib.contextmanager
def _ended(*children):
    """On Ctrl-C, waits until the builders have ended, then removes what they wrote."""
    try:
        yield
    except BaseException:
        for child in children:
            child.terminate()  # a plain user's mmdebstrap tidies up
        deadline = time.monotonic() + (1 if os.getuid() == 0 else 20)
        for child in children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()  # unshare hears only this signal, and ends its whole namespace
                child.wait()
        raise


def _follow(maker, progress):
    """Shows mmdebstrap's progress from the output of apt and dpkg; returns the last lines."""
    log, total, got, done = [], 0, 0, 0
    for raw in maker.stderr:
        line = raw.rstrip()
        if not line:
            continue
        log = log[-60:] + [line]
        found = re.search(r"(\d+) newly installed", line)
        if found:
            total += int(found.group(1))
        if line.startswith("Get:") and ".deb" in line or re.match(r"Get:\d+ .* \[[\d.]+ k?M?B\]", line):
            got += 1
            progress.step(f"downloaded {got} files, {total or '?'} packages")
        elif line.startswith("Setting up "):
            done += 1
            progress.step(f"installed {done} of {max(total, done)} packages")
        elif line.startswith("I: "):
            progress.step(line[3:], force=True)
    return log


def _versions(root):
    """Server name → version, from the root file system's own package list."""
    found, package = {}, None
    for line in (root / "var/lib/dpkg/status").read_text(errors="replace").splitlines():
        if line.startswith("Package: "):
            package = line[9:]
        elif line.startswith("Version: ") and package in NEEDED:
            version = re.sub(r"^\d+:", "", line[9:])
            found[NEEDED[package]] = re.sub(r"-[^-]*$", "", version)
    return found


def _key(*parts):
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def rootfs():
    arch = platform.machine()
    name = f"rootfs-{SUITE}-{arch}-{_key(RECIPE, SUITE, arch, sorted(PACKAGES))}"
    return _cached(name, _debootstrap(
        PACKAGES, f"fetching PostgreSQL, RabbitMQ and Redis from Debian {SUITE}"))


def bootable(packages):
    """A Debian of this machine's own release that systemd-nspawn boots, with these packages; root's."""
    release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release", encoding="utf-8")
                   if "=" in line)
    suite, arch = release.get("VERSION_CODENAME", "bookworm").strip('"'), platform.machine()
    wanted = sorted({"systemd-sysv", "dbus", *packages})
    return _cached(f"boot-{suite}-{arch}-{_key(RECIPE, suite, arch, wanted)}", _debootstrap(
        wanted, f"fetching a Debian {suite} that boots", suite, owners=True))


def debian(number):
    """A Debian release that builds and tests the project: what tools/setup installs for that, and a
    Redis with TLS."""
    if number not in RELEASES:
        raise StackError(f"no Debian {number} here (there are: {' '.join(RELEASES)})", EX_USAGE)
    suite, arch = RELEASES[number], platform.machine()
    wanted = sorted({*_capture(ROOT / "tools/setup", "--list", "build", "unit", "deb").split(),
                     *RELEASE_PACKAGES})
    return _cached(f"release-{number}-{arch}-{_key(RECIPE, suite, arch, wanted)}", _debootstrap(
        wanted, f"fetching a Debian {number} ({suite}) that builds", suite))


def _go_on_path():
    found = re.search(r"go(\d+)\.(\d+)", _capture("go", "version"))
    return bool(found) and (int(found.group(1)), int(found.group(2))) >= (1, 25)


def ferretdb():
    arch = platform.machine()
    return _cached(f"ferretdb-{FERRETDB}-{arch}-{_key(RECIPE, FERRETDB, arch)}", _build_ferretdb)


def _build_ferretdb(temp):
    module = f"github.com/FerretDB/FerretDB/v2/cmd/ferretdb@{FERRETDB}"
    passed = {name: value for name, value in os.environ.items() if re.match(
        r"(GO(PROXY|SUMDB|NOSUMDB|NOSUMCHECK|PRIVATE|NOPROXY|INSECURE)|https?_proxy|no_proxy|"
        r"SSL_CERT_FILE|SSL_CERT_DIR)$", name, re.IGNORECASE)}
    settings = {**passed, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    if _go_on_path():
        settings.update(GOPATH=str(temp / "go"), GOCACHE=str(temp / "build"),
                        GOBIN=str(temp / "bin"), GOFLAGS="-modcacherw -buildvcs=false")
        line = ["setpriv", "--pdeathsig", "KILL", "go", "install", "-v", module]
        environ = {**os.environ, **settings}
    else:
        root = _cached(f"go-{SUITE}-{platform.machine()}-{_key(RECIPE, SUITE, GO_PACKAGES)}",
                       _debootstrap(GO_PACKAGES, f"no Go ≥ 1.25 on PATH: fetching Debian {SUITE}'s"))
        settings.update(GOPATH=f"{sandbox.INSIDE}/go", GOCACHE=f"{sandbox.INSIDE}/build",
                        GOBIN=f"{sandbox.INSIDE}/bin", GOFLAGS="-modcacherw -buildvcs=false",
                        PATH="/usr/lib/go-1.26/bin:/usr/bin:/bin")
        # This machine's names and certificates.
        binds = [(path, path, "ro") for path in ("/etc/ssl", "/usr/share/ca-certificates",
                 "/usr/local/share/ca-certificates") if Path(path).exists() and (root / path[1:]).exists()]
        binds += [(os.path.realpath(path), path, "ro") for path in ("/etc/hosts", "/etc/resolv.conf")
                  if Path(path).exists() and (root / path[1:]).exists()]
        line = sandbox.command(root, "root", ["go", "install", "-v", module], temp, binds, settings)
        environ = None
    progress = Progress(f"building FerretDB {FERRETDB}")
    maker = subprocess.Popen(line, env=environ, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, text=True, errors="replace", cwd="/")
    log, loaded, built = [], 0, 0
    with _ended(maker):
        for raw in maker.stderr:
            log = log[-60:] + [raw.rstrip()]
            if raw.startswith("go: downloading"):
                loaded += 1
            else:
                built += 1
            progress.step(f"{loaded} modules downloaded, {built} packages compiled")
    if maker.wait() != 0 or not (temp / "bin/ferretdb").exists():
        _fail(f"building FerretDB {FERRETDB}", log, temp, "check that the Go module proxy can be "
              "reached (GOPROXY), or put a mongod on PATH, or name mongo in ONBOARD_EXTERNAL")
    (temp / "out").mkdir()
    os.rename(temp / "bin/ferretdb", temp / "out/ferretdb")
    progress.done()
