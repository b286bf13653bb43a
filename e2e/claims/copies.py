"""copy_file_range shares slices: the bytes, the records and the references are the peer's, copies outlive their source, and
races with compaction and removal lose nothing. And who root becomes on a mount that squashes."""
import json, os, random, threading
from volume import ENGINES, OURS, PEER, errno_of, read, run, until, write

MIB = 1 << 20
CHUNK = 64 * MIB


def copy(source, target, length, source_off=0, target_off=0):
    """copy_file_range until nothing more comes; how many bytes."""
    a, b = os.open(source, os.O_RDONLY), os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
    copied = 0
    try:
        while copied < length and (some := os.copy_file_range(a, b, length - copied, source_off + copied, target_off + copied)):
            copied += some
        return copied
    finally:
        os.close(a), os.close(b)


def made(where):
    """The same files on each volume: overlaid writes, a hole, two chunks."""
    for at, byte in enumerate(b"abcdef"):
        write(f"{where}/src", bytes([byte]) * 4096, offset=at * 4096)
    write(f"{where}/src", b"z" * 100, offset=1000)
    write(f"{where}/far", b"1" * 5000, offset=CHUNK - 2500), write(f"{where}/far", b"2" * 10, offset=CHUNK + MIB)
    expected = {}
    assert copy(f"{where}/src", f"{where}/dst", 20000, 500, 7) == 20000
    expected["dst"] = b"\0" * 7 + read(f"{where}/src")[500:20500]
    assert copy(f"{where}/src", f"{where}/dst", 1 << 40, 0, 30000) == 6 * 4096, "up to the end of the source"
    expected["dst"] += b"\0" * (30000 - 20007) + read(f"{where}/src")
    size = CHUNK + MIB + 10
    assert copy(f"{where}/far", f"{where}/shifted", size, 0, 1000) == size
    expected["shifted"] = b"\0" * 1000 + read(f"{where}/far")
    write(f"{where}/one", os.urandom(10) * 1000)
    body = read(f"{where}/one")
    assert copy(f"{where}/one", f"{where}/one", 4000, 1000, 20000) == 4000
    expected["one"] = body + b"\0" * 10000 + body[1000:5000]
    return expected


def shares(ours, theirs):
    kept = []
    for volume, binary in ((ours, OURS), (theirs, PEER)):
        where = volume.mount(binary)
        expected = made(where)
        for name, body in expected.items():
            assert read(f"{where}/{name}") == body, name
        assert errno_of(copy, f"{where}/one", f"{where}/one", 4000, 0, 100) == "EINVAL", "ranges that overlap"
        assert copy(f"{where}/src", f"{where}/dst", 10, 1 << 30) == 0
        volume.umount(where)
        kept.append(expected)
    for volume, reader in ((ours, PEER), (theirs, OURS)):
        where = volume.mount(reader, "--read-only")
        for name, body in kept[volume is theirs].items():
            assert read(f"{where}/{name}") == body, (name, "read by the other client")
        volume.umount(where)
    look = references
    assert look(ours) == look(theirs), (look(ours), look(theirs))
    assert len(ours.objects()) == len(theirs.objects()), "no object is written by a copy"
    ours.judge()
    # A copy outlives its source, and the last reference takes the objects.
    where = ours.mount(OURS)
    os.unlink(f"{where}/src"), os.unlink(f"{where}/far")
    for name in ("dst", "shifted"):
        assert read(f"{where}/{name}") == kept[0][name], name
    ours.umount(where)
    where = ours.mount(PEER)
    assert read(f"{where}/dst") == kept[0]["dst"] and read(f"{where}/shifted") == kept[0]["shifted"]
    for name in ("dst", "shifted", "one"):
        os.unlink(f"{where}/{name}")
    until("no object is left", lambda: not ours.objects())
    ours.umount(where)
    ours.judge()


def references(volume):
    """Sizes and counts of shared slices; which of two slices of one write has the lower number is chance."""
    if volume.engine == "sqlite":
        return sorted(volume.sql("SELECT size, refs FROM jfs_chunk_ref WHERE refs > 1"))
    fields = volume.redis("HGETALL", "sliceRef").decode().split()
    return sorted((int(field.split("_")[1]), int(count) + 1) for field, count in zip(fields[::2], fields[1::2]) if int(count) > 0)


def races(volume):
    """Copies while the source is rewritten, compacted and removed by others: each copy is one version, and stays."""
    ours, more = volume.mount(OURS), volume.mount(OURS)
    stop = threading.Event()
    body = bytearray(os.urandom(40000))
    write(f"{ours}/src", bytes(body))
    failures = []

    def churn():
        """The same bytes over and over: lists grow and are compacted, what is read stays."""
        try:
            while not stop.is_set():
                at = random.randrange(0, 39000)
                write(f"{more}/src", bytes(body[at:at + 1000]), offset=at)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for turn in range(60):
            assert copy(f"{ours}/src", f"{ours}/copy{turn}", 40000) == 40000
            if turn % 10 == 9:
                run(OURS, "compact", ours, check=True)
            if turn % 3 == 2:
                os.unlink(f"{ours}/copy{turn - 1}")
    finally:
        stop.set(), thread.join()
    assert not failures, failures
    os.unlink(f"{more}/src")
    for where in (ours, more):
        for turn in range(60):
            if turn % 3 != 1:
                assert read(f"{where}/copy{turn}") == bytes(body), turn
    for where in (ours, more):
        volume.umount(where)
    volume.judge()


def squashed(volume):
    """The same calls as root and as a user, on mounts of either client, give the same owners and the same refusals."""
    mount = volume.mount
    for folder in (volume.world.folder, volume.folder):
        os.chmod(folder, 0o755)  # for users
    plain = mount(OURS)
    os.mkdir(f"{plain}/open"), os.chmod(f"{plain}/open", 0o777), os.mkdir(f"{plain}/shut"), os.chmod(f"{plain}/shut", 0o755)
    write(f"{plain}/shut/secret", b"x"), os.chmod(f"{plain}/shut/secret", 0o600)
    seen = {}
    for option in ("--root-squash", "--all-squash"):
        for binary in (OURS, PEER):
            where = mount(binary, option, "2222:3333")
            tag = f"{option}{binary == OURS}"
            outcome = []
            for uid in (0, 1000):
                def calls():
                    name = f"{where}/open/{tag}{uid}"
                    return [
                        errno_of(write, name, b"data"), (lambda s: (s.st_uid, s.st_gid))(os.stat(name)),
                        errno_of(os.mkdir, f"{where}/shut/new"), errno_of(os.open, f"{where}/shut/secret", os.O_RDONLY),
                        errno_of(os.chown, name, 0, 0), errno_of(os.unlink, f"{where}/shut/secret"),
                    ]
                outcome.append(as_user(uid, calls))
            seen[option, binary == OURS] = outcome
            volume.umount(where)
        assert seen[option, True] == seen[option, False], f"{option}: ours {seen[option, True]} the peer's {seen[option, False]}"
    assert seen["--root-squash", True][0][1] == [2222, 3333] and seen["--root-squash", True][1][1][0] == 1000, seen
    assert seen["--all-squash", True][1][1] == [2222, 3333], seen
    code, text, _ = volume.try_mount(OURS, "--root-squash", "nobody:x")
    assert code and "root-squash" in text, text
    volume.umount(plain)
    volume.judge()


def as_user(uid, calls):
    """What `calls` answers in a process of `uid`."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if uid:
                os.setgroups([]), os.setgid(uid), os.setuid(uid)
            answer = calls()
        except BaseException as error:
            answer = [repr(error)]
        os.write(write_end, json.dumps(answer).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        answer = json.load(file)
    os.waitpid(child, 0)
    return answer


def claims(world):
    for engine in ENGINES:
        ours, theirs = (world.volume(engine, "--trash-days", "0", formatter=who, store="file") for who in (OURS, PEER))
        yield f"{engine}: a copied range shares its slices as the peer's", lambda a=ours, b=theirs: shares(a, b)
        volume = world.volume(engine, "--trash-days", "0")
        yield f"{engine}: copies that race with writes, compaction and removal", lambda v=volume: races(v)
    volume = world.volume("redis")
    yield "root and everybody become who the mount says", lambda: squashed(volume)
