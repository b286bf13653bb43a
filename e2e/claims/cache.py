"""The cache disk: directories that fail, and blocks that are acknowledged from it and stored later (`--writeback`)."""
import os, signal, subprocess, time
from volume import OURS, PEER, errno_of, read, run, until, write

DURABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "suites", "durable.py")
# Test machines have full disks.
ROOM = ["--free-space-ratio", "0.001"]


def staged(cache):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(cache) for name in names if "/rawstaging/" in at + "/" and not name.endswith(".tmp"))


def stored(volume):
    return {os.path.basename(path) for path in volume.objects()}


def kill(volume, where):
    server = volume.server(where)
    os.kill(server, signal.SIGKILL)
    subprocess.run(["umount", "-l", where], check=True)
    until("the process is gone", lambda: not os.path.exists(f"/proc/{server}") or "Z" in read(f"/proc/{server}/stat").decode().rsplit(")", 1)[-1].split()[0])


def filled(where, seed, sizes=(10, 65536, 200_000)):
    bodies = {f"{seed}-{size}": os.urandom(size) for size in sizes}
    for name, body in bodies.items():
        write(f"{where}/{name}", body)
    return bodies


def wrong(where, bodies):
    return [name for name, body in bodies.items() if read(f"{where}/{name}") != body]


def killed(volume, first, second):
    """What one client staged and did not store before it was killed, the other stores and reads."""
    cache = volume.folder + "/cache"
    where = volume.mount(first, *ROOM, "--writeback", "--upload-delay", "1h", cache=cache)
    bodies = filled(where, "a")
    left = staged(cache)
    assert len(left) == 6 and not stored(volume), (left, stored(volume))
    assert not wrong(where, bodies), "its own reader"
    kill(volume, where)
    assert staged(cache) == left
    where = volume.mount(second, *ROOM, "--writeback", cache=cache)
    until("everything is stored", lambda: not staged(cache), 30)
    assert {os.path.basename(path) for path in left} == stored(volume), (left, stored(volume))
    assert not wrong(where, bodies)
    volume.umount(where)
    where = volume.mount(PEER)
    assert not wrong(where, bodies), "a reader without that cache"
    volume.umount(where)
    # Sums of usage died with the process.
    for binary in (OURS, PEER):
        run(binary, "fsck", volume.meta, check=True)


def no_store(volume):
    """The store is away: writes go on, and come to it when it is back. `umount --flush` waits for them."""
    cache, data = volume.folder + "/cache", volume.folder + "/data"
    where = volume.mount(OURS, *ROOM, "--writeback", "--io-retries", "1", "--put-timeout", "1s", cache=cache)
    os.rename(data, data + ".away")
    write(data, b"in the way")
    bodies = filled(where, "b", range(10, 300_000, 29_999))
    assert not wrong(where, bodies) and staged(cache)
    flushing = subprocess.Popen([OURS, "umount", "--flush", where], stderr=subprocess.PIPE, text=True)
    assert "not stored yet" in flushing.stderr.readline() and flushing.poll() is None and os.path.ismount(where)
    os.unlink(data), os.rename(data + ".away", data)
    assert flushing.wait(40) == 0 and not staged(cache) and not os.path.ismount(where), flushing.stderr.read()
    flushing.stderr.close()
    where = volume.mount(PEER)
    assert not wrong(where, bodies)
    volume.umount(where)
    volume.judge()


def removed(volume):
    """What is unlinked before it was stored never comes to the store."""
    cache = volume.folder + "/cache"
    where = volume.mount(OURS, *ROOM, "--writeback", "--upload-delay", "1h", cache=cache)
    bodies = filled(where, "c")
    for name in list(bodies)[:2]:
        os.unlink(f"{where}/{name}")
    until("its blocks leave the stage", lambda: len(staged(cache)) == 4)
    volume.umount(where)
    assert len(staged(cache)) == 4, "umount leaves the rest to the next mount"
    where = volume.mount(OURS, cache=cache)
    until("the rest is stored, without --writeback too", lambda: not staged(cache) and len(stored(volume)) == 4)
    volume.umount(where)
    volume.judge()


def straight(volume):
    """Large blocks, a disk without room, no directory: stored at once, and the mount says so."""
    cache = volume.folder + "/cache"
    where = volume.mount(OURS, *ROOM, "--writeback", "--writeback-threshold-size", "1000", "--upload-delay", "1h", cache=cache)
    filled(where, "d", (10, 2000))
    assert len(staged(cache)) == 1 and len(stored(volume)) == 1, (staged(cache), stored(volume))
    volume.umount(where)
    code, text, where = volume.try_mount(OURS, "--writeback", "--free-space-ratio", "0.9999", cache=volume.folder + "/full")
    assert code == 0 and "not enough space" in text, text
    filled(where, "e", (3000,))
    assert not staged(volume.folder + "/full") and len(stored(volume)) == 2
    volume.umount(where)
    for options, word in ((["--upload-hours", "x"], "hours"), (["--upload-hours", "25,1"], "hours")):
        code, text, where = volume.try_mount(OURS, "--writeback", *options)
        assert code and word in text, text


def directories(volume):
    """Several directories, by pattern too; one that can't be used is named and left out; the only one is refused."""
    for name in ("disk1", "disk2", "other"):
        os.mkdir(f"{volume.folder}/{name}")
    code, text, where = volume.try_mount(OURS, *ROOM, cache=f"{volume.folder}/disk*:/proc/no-cache-here")
    assert code == 0 and "/proc/no-cache-here" in text, text
    body = os.urandom(3 << 20)
    write(f"{where}/f", body)
    volume.umount(where)
    where = volume.mount(OURS, *ROOM, cache=f"{volume.folder}/disk*:/proc/no-cache-here")
    assert read(f"{where}/f") == body
    count = lambda name: sum(len(names) for at, _, names in os.walk(f"{volume.folder}/{name}") if "/raw/" in at)
    until("both directories are used", lambda: count("disk1") > 5 and count("disk2") > 5)
    assert not count("other")
    volume.umount(where)
    code, text, where = volume.try_mount(OURS, cache="/proc/no-cache-here")
    assert code and "/proc/no-cache-here" in text and "--cache-dir" in text and not os.path.ismount(where), text


def lost(volume):
    """A block that is lost is EIO within seconds, and only that one."""
    where = volume.mount(OURS)
    write(f"{where}/f", os.urandom(100_000)), write(f"{where}/g", b"whole")
    volume.umount(where)
    for path in volume.objects():
        if path.endswith("_0_65536"):
            os.unlink(path)
    where = volume.mount(OURS)
    begun = time.monotonic()
    assert errno_of(lambda: open(f"{where}/f", "rb").read()) == "EIO" and time.monotonic() - begun < 5, time.monotonic() - begun
    assert read(f"{where}/g") == b"whole"
    volume.umount(where)


def durable(volume):
    """Nothing that fsync promised is lost with the process, time and again."""
    cache, ledger = volume.folder + "/cache", volume.folder + "/ledger"
    options = [*ROOM, "--writeback", "--upload-delay", "2s"]
    where = volume.mount(OURS, *options, cache=cache)
    for turn in range(2):
        writing = subprocess.Popen(["python3", DURABLE, "write", f"{where}", f"{ledger}{turn}", "4", "3"], env={**os.environ, "SEED": str(turn)}, stderr=subprocess.DEVNULL)
        time.sleep(2.5)
        assert staged(cache), "nothing was staged"
        kill(volume, where)
        writing.wait(30)
        where = volume.mount(OURS, *options, cache=cache)
        code, text = run("python3", DURABLE, "check", where, f"{ledger}{turn}")
        assert code == 0, text
        for name in os.listdir(where):
            if name.startswith("w"):
                os.rename(f"{where}/{name}", f"{where}/kept{turn}{name}")
    volume.umount(where)
    where = volume.mount(OURS, cache=cache)
    until("everything is stored", lambda: not staged(cache), 30)
    volume.umount(where)


def claims(world):
    small = ["--block-size", "64K", "--trash-days", "0"]
    for first, second in ((OURS, PEER), (PEER, OURS), (OURS, OURS)):
        volume = world.volume("sqlite", *small, "--compress", "lz4")
        yield f"staged by {'us' if first == OURS else 'the peer'}, killed, stored by {'us' if second == OURS else 'the peer'}", lambda v=volume, f=first, s=second: killed(v, f, s)
    for name, claim in (("staged while the store is away", no_store), ("unlinked before it was stored", removed), ("not everything is staged", straight),
                        ("cache directories that fail are left out", directories), ("a lost block is EIO soon", lost), ("what fsync promised survives kill -9 with write-back", durable)):
        volume = world.volume("sqlite", *small)
        yield name, lambda v=volume, c=claim: c(v)
