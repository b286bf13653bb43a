"""What is seen of a mount at work: `.accesslog` line by line, `stats` and `profile` of either client on mounts of either."""
import os, re, subprocess, threading, time
from volume import OURS, PEER, errno_of, run, until, write

# Runs in a process of its own, so that its lines are told apart by its pid.
WORK = r"""
import fcntl, os, struct, sys
os.chdir(sys.argv[1])
print(os.getpid(), flush=True)
sys.stdin.readline()
def tried(call, *arguments):
    try: return call(*arguments)
    except OSError: return None
os.mkdir("d"); os.mkdir("d/e", 0o700)
f = os.open("d/f", os.O_CREAT | os.O_RDWR, 0o640)
os.pwrite(f, b"x" * 5000, 0); os.fsync(f); os.pread(f, 100, 0)
fcntl.flock(f, fcntl.LOCK_SH); fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); fcntl.flock(f, fcntl.LOCK_UN)
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5); fcntl.lockf(f, fcntl.LOCK_SH, 3, 0)
fcntl.fcntl(f, fcntl.F_GETLK, struct.pack("hhqqi", 1, 0, 0, 100, 0))
fcntl.lockf(f, fcntl.LOCK_UN, 10, 5)
os.posix_fallocate(f, 0, 9000); os.ftruncate(f, 100); os.fchmod(f, 0o600)
os.close(f)
os.close(os.open("d/f", os.O_RDONLY)); os.truncate("d/f", 50); os.chown("d/f", 3, 4); os.utime("d/f", (5, 7)); os.utime("d/f")
os.setxattr("d/f", "user.a", b"1234"); os.listxattr("d/f"); os.getxattr("d/f", "user.a"); tried(os.getxattr, "d/f", "user.none"); os.removexattr("d/f", "user.a")
os.symlink("to/where", "d/s"); os.readlink("d/s"); os.link("d/f", "d/h"); os.mknod("d/fifo", 0o10644)
tried(os.mkdir, "d/e"); tried(os.rmdir, "d"); tried(os.stat, "d/none"); tried(os.open, "d/f", os.O_CREAT | os.O_EXCL)
os.rename("d/h", "d/i"); os.unlink("d/i"); os.rmdir("d/e"); os.listdir("d"); os.statvfs("d")
"""


def worked(volume, binary, where):
    """The lines of the access log that tell of the work."""
    log = open(f"{where}/.accesslog", "rb", buffering=0)
    work = subprocess.Popen(["/usr/bin/python3", "-c", WORK, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pid = work.stdout.readline().strip()
    _, said = work.communicate("\n", timeout=30)
    assert work.returncode == 0, said
    text, deadline = b"", time.monotonic() + 10
    while b"statfs" not in text and time.monotonic() < deadline:
        text += log.read(65536)
    log.close()
    return [line for line in text.decode().splitlines() if f",pid:{pid}]" in line]


def shape(line, inos):
    """A line without what differs from mount to mount: times, the numbers of processes, nodes, handles and owners."""
    matched = re.fullmatch(r"\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d\.\d{6} \[uid:0,gid:0,pid:\d+\] (\w+) (\(.*) <\d+\.\d{6}>", line)
    assert matched, line
    operation, rest = matched.groups()
    rest = re.sub(r"\[fh:\d+\]", "[fh]", rest)
    rest = re.sub(r"\b[0-9A-F]{16}\b", "OWNER", rest)
    if operation in ("read", "write"):
        rest = re.sub(r",\d+\)", ",fh)", rest, count=1)
    if operation in ("flush", "flock", "setlk", "getlk", "release"):
        rest = re.sub(r"^\((\d+),\d+", r"(\1,fh", rest)
    if operation == "setattr":
        rest = re.sub(r"^\((\d+)\[[1-9]\d*\]", r"(\1[fh]", rest)
    if operation == "setlk":
        rest = re.sub(r",[1-9]\d+\) ", ",pid) ", rest)
    if operation == "statfs":
        rest = re.sub(r": \(.*\)", ": (room)", rest)
    rest = re.sub(r",\d{10}(?=,|\])", ",T", rest)
    return operation + " " + re.sub(r"(?<=\()[1-9]\d*(?=[,)\[])", lambda ino: inos.setdefault(ino[0], f"i{len(inos)}") if ino[0] != "1" else "1", rest)


def same_lines(world):
    lines = {}
    for binary in (OURS, PEER):
        volume = world.pop()
        where = volume.mount(binary, "--enable-xattr")
        inos = {}
        lines[binary] = [shape(line, inos) for line in worked(volume, binary, where)]
        volume.umount(where)
    # What the kernel asks in between depends on what it may remember: the work itself is what must be told alike.
    asked = ("lookup", "getattr", "open", "opendir", "readdir", "getxattr")
    told = {who: [line for line in of if line.split()[0] not in asked] for who, of in lines.items()}
    assert len(told[OURS]) > 30 and told[OURS] == told[PEER], "\n".join(["ours:", *told[OURS], "theirs:", *told[PEER]])
    for operation in asked:
        ours, theirs = ({line for line in lines[who] if line.startswith(operation + " ")} for who in (OURS, PEER))
        assert ours & theirs, f"{operation}: {ours} and {theirs}"


def for_root_only(volume):
    os.chmod(volume.folder, 0o755), os.chmod(os.path.dirname(volume.folder), 0o755)
    where = volume.mount(OURS, "-o", "allow_other")
    path = f"{where}/.accesslog"
    assert oct(os.stat(path).st_mode) == "0o100400" and ".accesslog" in os.listdir(where)
    r = subprocess.run(["cat", path], user=1000, group=1000, extra_groups=[], capture_output=True, text=True, cwd="/")
    assert r.returncode and "Permission denied" in r.stderr, r
    assert errno_of(os.open, path, os.O_WRONLY) in ("EACCES", "EPERM")
    with open(path, "rb", buffering=0) as log:
        text = log.read(4096)
        assert b" open (" in text, text
        until("a second without anything is told", lambda: log.read(4096) == b"#\n")
        # A reader who sleeps gets the first of many lines, and the mount goes on.
        for number in range(12_000):
            errno_of(os.stat, f"{where}/none{number}")
        text = b""
        while not text.endswith(b"#\n"):
            text += log.read(1 << 20)
        lines = text.decode().splitlines()
        # More readers than the mount has queues for are told so.
        others, refused = [], 0
        for _ in range(70):
            try:
                others.append(os.open(path, os.O_RDONLY))
            except OSError:
                refused += 1
        assert others and refused, (len(others), refused)
        for fd in others:
            os.close(fd)
    assert 10_000 < len(lines) < 10_400 and any("none0)" in line for line in lines[:60]), len(lines)
    volume.umount(where)


def tools_of_either(volume):
    ours, theirs = volume.mount(OURS), volume.mount(PEER)
    for number in range(20):
        write(f"{ours}/f{number}", b"x" * 100_000), write(f"{theirs}/g{number}", b"x" * 100_000)
    for options in (["-c", "2"], ["--count", "1", "--schema", "tfu", "-l", "1"]):
        said = {(who, mount): run(who, "stats", mount, *options) for who in (OURS, PEER) for mount in (ours, theirs)}
        for (who, mount), (code, text) in said.items():
            assert code == 0, text
            # Heads as they are, lines with as many columns of the same width.
            lines, wanted = text.splitlines(), said[PEER, theirs][1].splitlines()
            assert lines[:2] == wanted[:2] and len(lines) == len(wanted), f"{text}\ninstead of\n{said[PEER, theirs][1]}"
            assert all([len(part) for part in line.split("|")] == [len(part) for part in wanted[2].split("|")] for line in lines[2:]), text
            assert re.search(r"\d+M", lines[2]), text
    code, text = run(OURS, "stats", volume.folder)
    assert code == 1 and "no JuiceFS mount" in text, text
    # A log of either client's mount, read by either's tool: the same table.
    for mount in (ours, theirs):
        kept = os.path.join(volume.folder, "log")
        with open(kept, "wb") as out:
            reader = subprocess.Popen(["cat", f"{mount}/.accesslog"], stdout=out)
            until("somebody reads", lambda: os.path.exists(f"{mount}/f0") and os.path.getsize(kept) > 0)
            for number in range(30):
                os.path.exists(f"{mount}/none{number}"), os.listdir(mount)
            until("it is written", lambda: b"none29" in open(kept, "rb").read())
            reader.terminate(), reader.wait()
        for options in (["--interval", "0"], ["--interval", "0", "--uid", "0", "-p", str(threading.get_native_id())]):
            tables = [run(who, "profile", kept, *options)[1].splitlines() for who in (OURS, PEER)]
            rows = [sorted(line.rsplit(None, 1)[0] for line in table if re.match(r"[a-z]", line)) for table in tables]
            assert rows[0] == rows[1] and any(row.startswith("lookup ") for row in rows[0]), tables
            assert tables[0][1] == tables[1][1] and re.match(r"> JuiceFS Profiling {16}Refresh: \d+ seconds  \d{4}-", tables[0][0]), tables
            assert tables[0][0] == tables[1][0], tables
    for who in (OURS, PEER):
        for mount in (ours, theirs):
            live = subprocess.Popen([who, "profile", "--interval", "1", mount], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
            text, deadline = "", time.monotonic() + 15
            while not re.search(r"^lookup +\d", text, flags=re.M) and time.monotonic() < deadline:
                os.path.exists(f"{mount}/none{time.monotonic()}")
                text += live.stdout.readline()
            live.kill(), live.communicate()
            assert re.search(r"^lookup +\d+ +\d+ +\d+ +\d+\.\d$", text, flags=re.M), text
    volume.umount(theirs), volume.umount(ours)


def claims(world):
    volumes = [world.volume("sqlite"), world.volume("sqlite")]
    yield "lines of .accesslog are the peer's", lambda: same_lines(volumes)
    volume = world.volume("sqlite")
    yield ".accesslog is root's, and who does not read it does not stop the mount", lambda v=volume: for_root_only(v)
    volume = world.volume("redis")
    yield "stats and profile of either client on mounts of either", lambda v=volume: tools_of_either(v)
