"""What two mounts are to one another: files that one closed and the other opens, sessions that
die, servers that stop answering, and what a mount is made of."""
import ctypes, fcntl, os, signal, struct, subprocess, threading, time
from volume import ENGINES, OURS, PEER, errno_of, read, run, until, write

def not_yet(volume):
    """What is not done fails with the errno that says so."""
    where = volume.mount(OURS)
    path = f"{where}/f"
    write(path, b"x" * 5000)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDWR)
    outcomes = {
        "setxattr": errno_of(os.setxattr, path, "user.a", b"1"),
        "getxattr": errno_of(os.getxattr, path, "user.a"),
        "listxattr": errno_of(os.listxattr, path),
        "removexattr": errno_of(os.removexattr, path, "user.a"),
        "an ACL": errno_of(os.setxattr, path, "system.posix_acl_access", struct.pack("<IHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 4, 4, 0xFFFFFFFF, 32, 4, 0xFFFFFFFF)),
        "FS_IOC_SETFLAGS": errno_of(fcntl.ioctl, fd, 0x40086602, struct.pack("l", 0x10)),
        "collapse": "ok" if libc.fallocate(fd, 8, ctypes.c_long(0), ctypes.c_long(4096)) == 0 else os.strerror(ctypes.get_errno()),
    }
    os.close(fd)
    assert outcomes == {
        "setxattr": "ENOTSUP", "getxattr": "ENOTSUP", "listxattr": "ENOTSUP", "removexattr": "ENOTSUP", "an ACL": "ENOTSUP",
        "FS_IOC_SETFLAGS": "ENOTTY", "collapse": "Operation not supported",
    }, outcomes
    code, text = run(OURS, "clone", where, where + "x")
    assert code and "not supported yet" in text, (code, text)
    assert read(path) == b"x" * 5000


def close_to_open(volume):
    """What one mount closed, any other reads at its next open: us and us, us and the peer. Its attributes the peer
    caches by itself, so its caches are off."""
    ours, more, theirs = volume.mount(OURS), volume.mount(OURS), volume.mount(PEER, "--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0")
    mounts = [ours, more, theirs]
    for turn in range(60):
        writer = mounts[turn % 3]
        body = bytes([turn]) * (1000 + 137 * turn) + os.urandom(50)
        if turn % 4 == 3:
            os.truncate(f"{writer}/f", 10)
            body = read(f"{writer}/f")
        elif turn % 4 == 2:
            body = read(f"{writer}/f") + body
            write(f"{writer}/f", body[-100:], offset=len(body) - 100, sync=False), write(f"{writer}/f", body, sync=False)
        else:
            with open(f"{writer}/f", "wb") as file:
                file.write(body)
        for reader in mounts:
            found = read(f"{reader}/f")
            assert found == body, f"turn {turn}: {len(found)} bytes of {len(body)} by {mounts.index(writer)} read by {mounts.index(reader)}"
    # Read your own writes: at once, without close or sync, through another descriptor too.
    a, b = os.open(f"{ours}/own", os.O_RDWR | os.O_CREAT), os.open(f"{ours}/own", os.O_RDONLY)
    for turn in range(200):
        body = os.urandom(1 + turn * 7)
        os.pwrite(a, body, turn * 911)
        assert os.pread(b, len(body), turn * 911) == body and os.fstat(b).st_size >= turn * 911 + len(body)
    os.close(a), os.close(b)
    for where in mounts:
        volume.umount(where)
    run(PEER, "fsck", volume.meta, check=True), run(OURS, "fsck", volume.meta, check=True)


def sessions(volume, killed, survivor, seconds):
    """A mount that died holding a file without a name and locks: the other client ends its session, the file goes, and
    whoever waits gets the locks, not before."""
    dead, alive = volume.mount(killed, "--heartbeat", "1"), volume.mount(survivor, "--heartbeat", "1")
    write(f"{alive}/stays", b"stays")
    before = volume.sessions()
    fd = os.open(f"{dead}/f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 100_000), os.fsync(fd), os.unlink(f"{dead}/f")
    holder, other = os.open(f"{dead}/stays", os.O_RDWR), os.open(f"{alive}/stays", os.O_RDWR)
    locks = [lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 2, 1)]
    for lock in locks:
        lock(holder)
    time.sleep(1.5)
    assert os.pread(fd, 5, 0) == b"xxxxx" and len(volume.objects()) == 2, volume.objects()
    for pid in processes(volume, dead):
        os.kill(pid, signal.SIGKILL)
    subprocess.run(["umount", "-l", dead], capture_output=True)
    assert [errno_of(lock, other) for lock in locks] == ["EAGAIN"] * 2
    until(f"the session of the killed mount ends ({before})", lambda: len(volume.sessions()) == 1, seconds)
    until("the objects of its open file go", lambda: len(volume.objects()) == 1, 20)
    assert [errno_of(lock, other) for lock in locks] == ["ok"] * 2
    os.close(other)
    assert read(f"{alive}/stays") == b"stays"
    volume.umount(alive)
    errno_of(os.close, fd), errno_of(os.close, holder)  # their server is gone
    assert volume.sessions() == set(), volume.sessions()
    volume.judge()


def processes(volume, where):
    """Those of a mount: of the peer's two, the one that watches first."""
    pid = volume.server(where)
    parent = int(read(f"/proc/{pid}/stat").rsplit(b")", 1)[1].split()[1])
    return [parent, pid] if b"juicefs" in read(f"/proc/{parent}/comm") else [pid]


def what_a_mount_is_made_of(volume):
    """Four threads read the kernel's requests, the heartbeat has its own, and the kernel may keep 256 requests waiting."""
    where = volume.mount(OURS)
    pid = volume.server(where)
    threads = [read(f"/proc/{pid}/task/{task}/comm").decode().strip() for task in os.listdir(f"/proc/{pid}/task")]
    assert sum(name.startswith("fuse-") for name in threads) == 4 and "meta-heartbeat" in threads, threads
    minor = os.minor(os.stat(where).st_dev)
    if not os.path.exists(f"/sys/fs/fuse/connections/{minor}"):
        run("mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections", check=True)
    most = read(f"/sys/fs/fuse/connections/{minor}/max_background").strip()
    assert most == b"256", f"max_background of connection {minor}: {most}"
    # Dirty pages lie in a memfd, in nothing else.
    maps = lambda: sum(int(line.split()[1]) for line in mapped(pid) if line.startswith("Rss:"))
    fd = os.open(f"{where}/f", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"d" * (3 << 20), 0)
    assert maps() >= 3 << 10, f"{maps()} KiB of the arena are in use"
    os.close(fd)
    volume.umount(where)


def mapped(pid):
    """The lines of the memfd's mappings."""
    inside = False
    for line in read(f"/proc/{pid}/smaps").decode().splitlines():
        if "-" in line.split(" ")[0] and not line.split(" ")[0].endswith(":"):
            inside = "memfd:" in line
        elif inside:
            yield line


def silence(volume):
    """The object store and then Redis stop answering: what memory can answer is answered, what waits goes on later."""
    where = volume.mount(OURS, cache="memory")
    for number in range(40):
        write(f"{where}/f{number}", os.urandom(100_000))
    volume.umount(where)
    where = volume.mount(OURS, "--heartbeat", "2", "--attr-cache", "30", "--entry-cache", "30", "--dir-entry-cache", "30", cache="memory")
    world, results = volume.world, []
    with stopped(world.s3.process.pid):
        readers = [threading.Thread(target=lambda n=n: results.append(len(read(f"{where}/f{n}")))) for n in range(40)]
        for reader in readers:
            reader.start()
        until("downloads wait", lambda: waiting(where, "download") > 5, 20)
        slowest = max(timed(os.mkdir, f"{where}/d{n}") for n in range(50))
        assert slowest < 1, f"a mkdir took {slowest:.1f} s beside reads that wait"
        assert not results
    for reader in readers:
        reader.join(60)
    assert results == [100_000] * 40, results
    os.stat(where)  # the kernel asks again for a directory that changed
    with stopped(world.redis.process.pid):
        stuck = threading.Thread(target=lambda: results.append(errno_of(os.mkdir, f"{where}/late")))
        stuck.start()
        slowest = max(timed(os.stat, f"{where}/d{n}") for n in range(50))
        assert slowest < 1, f"a cached stat took {slowest:.1f} s"
        until("the gauge shows the wait for metadata", lambda: waiting(where, "meta") > 5, 20)
    stuck.join(60)
    assert results[-1] == "ok", results[-1]
    assert "waiting for the metadata engine" in volume.log(where)
    volume.umount(where)
    volume.judge()


class stopped:
    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def waiting(where, on):
    return float(dict(line.split(" ") for line in read(f"{where}/.stats").decode().splitlines())[f"juicefs_waiting_{on}"])


def timed(call, *arguments):
    begun = time.monotonic()
    call(*arguments)
    return time.monotonic() - begun


def foreground(volume):
    """In the foreground until SIGINT; what was written and neither closed nor synced is stored."""
    where = os.path.join(volume.folder, "fg")
    os.mkdir(where)
    process = subprocess.Popen([OURS, "mount", "--cache-dir", f"{where}.cache", volume.meta, where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until("the mount is there", lambda: os.path.ismount(where))
    fd = os.open(f"{where}/f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"neither closed nor synced")
    process.send_signal(signal.SIGINT)
    code = process.wait(30)
    errno_of(os.close, fd)  # its server is gone
    assert code == 0 and not os.path.ismount(where), (code, process.stdout.read())
    assert volume.sessions() == set()
    where = volume.mount(OURS)
    assert read(f"{where}/f") == b"neither closed nor synced"
    volume.umount(where)


def bandwidth(volume):
    """The volume's own limits hold for us, also when they are set during the mount."""
    where = volume.mount(OURS, "--heartbeat", "1")
    took = lambda name: timed(write, f"{where}/{name}", os.urandom(3 << 20))
    free = took("free")
    run(PEER, "config", volume.meta, "--upload-limit", "8", "--yes", check=True)  # 1 MB a second
    time.sleep(3)
    took("first")
    limited = took("limited")
    assert limited > 2.5 > free, (free, limited)
    volume.umount(where)


def missing_subdir(volume):
    """A mount makes the directory that it is to show, as the peer does: for everybody, whatever the umask is."""
    before, made = os.umask(0o077), []
    try:
        for binary in (OURS, PEER):
            name = "ours" if binary == OURS else "peer"
            where = volume.mount(binary, "--subdir", f"/{name}/b/c")
            write(f"{where}/f", b"x")
            volume.umount(where)
        for options in (("--subdir", "ours/d", "--read-only"), ("--subdir", "ours/b/c/f/g")):
            code, text, _ = volume.try_mount(OURS, *options)  # the peer says it after 10 s
            assert code == 1 and "--subdir" in text, (options, text)
    finally:
        os.umask(before)
    where = volume.mount(PEER)
    for name in ("ours", "peer"):
        found = [os.stat(f"{where}/{name}{below}") for below in ("", "/b", "/b/c")]
        made.append([(oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink) for s in found])
        assert os.listdir(f"{where}/{name}") == ["b"], os.listdir(f"{where}/{name}")
    assert made[0] == made[1], made
    volume.umount(where)
    volume.judge()


def mounted_again(volume, another):
    """Who mounts in the background what is mounted there already, has it; another volume or another right is refused."""
    for binary in (OURS, PEER):
        where = volume.mount(binary)
        server, others = volume.server(where), volume.sessions()
        mount = lambda of, *options: run(OURS, "mount", "-d", "--log", f"{where}.again", "--cache-dir", f"{where}.cache", *options, of.meta, where)
        code, text = mount(volume)
        assert code == 0 and f"process {server}" in text and "already" in text, (code, text)
        for code, text in (mount(another), mount(volume, "--subdir", "other")):
            assert code == 1 and "is already a mount" in text, (code, text)
        assert volume.server(where) == server and volume.sessions() == others
        volume.umount(where)


def claims(world):
    # The longest first: decisions 25 let nobody clean for the first minute.
    for engine in ENGINES:
        volume = world.volume(engine, "--trash-days", "0", store="file")
        yield f"{engine}: we clean a dead session of the peer's", lambda v=volume: sessions(v, PEER, OURS, 120)
    volume = world.volume("redis", "--trash-days", "0", store="file")
    yield "the peer cleans a dead session of ours", lambda v=volume: sessions(v, OURS, PEER, 60)
    for engine in ENGINES:
        volume = world.volume(engine)
        yield f"{engine}: close to open", lambda v=volume: close_to_open(v)
        volume = world.volume(engine)
        yield f"{engine}: a missing --subdir is made", lambda v=volume: missing_subdir(v)
    volume, other = world.volume("sqlite"), world.volume("sqlite")
    yield "what is mounted already is not mounted twice", lambda v=volume, o=other: mounted_again(v, o)
    volume = world.another().volume("redis")
    yield "servers that stop answering", lambda v=volume: silence(v)
    for name, claim, engine in (
        ("what is not done yet says so", not_yet, "sqlite"),
        ("what a mount is made of", what_a_mount_is_made_of, "redis"),
        ("a mount in the foreground", foreground, "sqlite"),
        ("limits of bandwidth", bandwidth, "sqlite"),
    ):
        volume = world.volume(engine)
        yield name, lambda v=volume, c=claim: c(v)
