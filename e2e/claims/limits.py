"""Capacity and inode limits of the volume are enforced against what both clients used, and follow `config`."""
import os, time
from volume import ENGINES, OURS, PEER, errno_of, run, until, write

MIB = 1 << 20


def limits(volume):
    ours = volume.mount(OURS, "--heartbeat", "1")
    theirs = volume.mount(PEER, "--heartbeat", "1")
    used = lambda: (lambda s: s.f_files - s.f_ffree)(os.statvfs(ours))
    for number in range(30):
        write(f"{theirs}/p{number}", b"")
    until("the peer's files are counted", lambda: used() == 30)
    time.sleep(1.5)  # the sums that limits are held against are read once a second
    made = 0
    for _ in range(2):  # a sum that is read while a file is made counts it twice until the next second
        while (outcome := errno_of(write, f"{ours}/o{made}", b"")) == "ok":
            made += 1
        time.sleep(1.5)
    assert (made, outcome) == (30, "ENOSPC"), f"{made} files and {outcome} with 30 of 60 used by the peer"
    for refused in (errno_of(os.mkdir, f"{ours}/d"), errno_of(os.symlink, "x", f"{ours}/s"), errno_of(os.mkfifo, f"{ours}/q")):
        assert refused == "ENOSPC", refused
    os.link(f"{ours}/o0", f"{ours}/link"), os.unlink(f"{ours}/link")  # a name is no inode
    time.sleep(3)  # the peer looks with its heartbeat
    assert errno_of(write, f"{theirs}/more", b"") == "ENOSPC", "the peer refuses, too"
    os.unlink(f"{theirs}/p0"), os.unlink(f"{theirs}/p1")
    until("room that the peer made", lambda: errno_of(write, f"{ours}/o30", b"") == "ok")
    run(PEER, "config", volume.meta, "--inodes", "90", "--yes", check=True)
    until("the new limit", lambda: errno_of(write, f"{ours}/o{made + 1}", b"") == "ok")

    os.truncate(f"{theirs}/p2", 700 * MIB)
    until("the peer's bytes are counted", lambda: os.statvfs(ours).f_bfree * 4096 < 330 * MIB)
    time.sleep(1.5)
    assert errno_of(os.truncate, f"{ours}/o1", 400 * MIB) == "ENOSPC"
    past = errno_of(write, f"{ours}/o1", b"end", offset=400 * MIB)
    assert past == "ENOSPC", f"a write past the capacity: {past}, room {os.statvfs(ours).f_bfree * 4096 // MIB} MiB"
    fd = os.open(f"{ours}/o2", os.O_RDWR)
    assert errno_of(os.posix_fallocate, fd, 0, 400 * MIB) == "ENOSPC"
    os.close(fd)
    os.truncate(f"{ours}/o1", 300 * MIB)
    write(f"{ours}/o1", b"inside", offset=7)
    us, them = (os.statvfs(where) for where in (ours, theirs))
    until("both show the same room", lambda: room(ours) == room(theirs))
    assert (us.f_bsize, us.f_frsize, us.f_namemax) == (them.f_bsize, them.f_frsize, them.f_namemax), (us, them)
    os.truncate(f"{theirs}/p2", 0)
    until("room again", lambda: errno_of(os.truncate, f"{ours}/o1", 900 * MIB) == "ok")
    volume.umount(theirs), volume.umount(ours)
    volume.judge()


def room(where):
    s = os.statvfs(where)
    return s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine, "--inodes", "60", "--capacity", "1", "--trash-days", "0")
        yield f"{engine}: limits of the volume hold against both clients", lambda v=volume: limits(v)
