"""Appends of several mounts to one file that all keep open: none is overwritten, none is torn."""
import os, random, threading
from volume import ENGINES, OURS, PEER, read, until, write

CHUNK, RECORD = 64 << 20, 4099


def record(who, nth):
    head = f"{who} {nth:6} ".encode()
    return head + random.Random(who * 1_000_000 + nth).randbytes(RECORD - len(head) - 1).replace(b"\n", b" ") + b"\n"


def appender(path, who, count, every, flags):
    fd = os.open(path, flags | os.O_APPEND)
    for nth in range(count):
        assert os.write(fd, record(who, nth)) == RECORD
        if nth % every == every - 1:
            os.fsync(fd)
    os.close(fd)


def all_there(data, counts):
    """Whole records, those of each writer in the order in which it wrote them."""
    next_of = dict.fromkeys(counts, 0)
    assert len(data) == RECORD * sum(counts.values()), (len(data), counts)
    for at in range(0, len(data), RECORD):
        who = int(data[at:at + 2])
        assert data[at:at + RECORD] == record(who, next_of[who]), f"at {at}: {data[at:at + 20]} after {next_of}"
        next_of[who] += 1


def together(volume, begin):
    """Writers on two mounts, two of them through one; with and without reading what they write."""
    a, b = volume.mount(OURS), volume.mount(OURS)
    write(f"{a}/log", b"")
    os.truncate(f"{a}/log", begin)
    counts = {1: 90, 2: 90, 3: 90}
    work = [(a, 1, 7, os.O_WRONLY), (b, 2, 3, os.O_WRONLY), (b, 3, 11, os.O_RDWR)]
    failures = []

    def run(mount, who, every, flags):
        try:
            appender(f"{mount}/log", who, counts[who], every, flags)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=one) for one in work]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert not failures, failures
    for mount in (a, b):
        all_there(read(f"{mount}/log")[begin:], counts)
    volume.umount(a), volume.umount(b)
    theirs = volume.mount(PEER)
    all_there(read(f"{theirs}/log")[begin:], counts)
    volume.umount(theirs)
    volume.judge()


def idle(volume):
    """A descriptor that stayed open while others, the peer too, made the file longer, or cut it."""
    a, theirs = volume.mount(OURS), volume.mount(PEER)
    write(f"{a}/log", record(1, 0))
    fd, reads = os.open(f"{a}/log", os.O_WRONLY | os.O_APPEND), os.open(f"{a}/log", os.O_RDWR | os.O_APPEND)
    write(f"{theirs}/log", record(2, 0), offset=RECORD)
    os.write(fd, record(1, 1)), os.fsync(fd)
    write(f"{theirs}/log", record(2, 1), offset=3 * RECORD)
    os.write(reads, record(1, 2)), os.fsync(reads)
    whole = record(1, 0) + record(2, 0) + record(1, 1) + record(2, 1) + record(1, 2)
    until("the kernel has forgotten where it put the bytes", lambda: os.fstat(reads).st_size == len(whole) and os.pread(reads, 9 * RECORD, 0) == whole, 5)
    os.truncate(f"{theirs}/log", RECORD)
    os.write(fd, record(1, 1)), os.close(fd), os.close(reads)
    all_there(read(f"{a}/log"), {1: 2})
    volume.umount(a), volume.umount(theirs)
    volume.judge()


def claims(world):
    for engine in ENGINES:
        border = world.volume(engine, "--trash-days", "0")
        yield f"appends through open files lose and tear nothing, {engine}", lambda v=border: together(v, CHUNK - 200_000)
        volume = world.volume(engine, "--trash-days", "0")
        yield f"an append finds the end that others moved, {engine}", lambda v=volume: idle(v)
