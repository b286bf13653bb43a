"""Files whose last name goes while another mount has them open: they stay there, readable and writable, and nowhere
longer than that."""
import os, signal, subprocess
from volume import ENGINES, OURS, PEER, read, until, write


def bytes_of(fd):
    return os.pread(fd, 1 << 24, 0)


def held(volume):
    """Inodes that sessions keep without a name."""
    if volume.engine == "sqlite":
        return {inode for (inode,) in volume.sql("SELECT inode FROM jfs_sustained")}
    keys = [key for key in volume.redis("--raw", "KEYS", "session[0-9]*").decode().split()]
    return {int(ino) for key in keys for ino in volume.redis("--raw", "SMEMBERS", key).decode().split()}


def counted(volume):
    """Bytes of files in the root, as last written."""
    if volume.engine == "sqlite":
        return volume.sql("SELECT data_length FROM jfs_dir_stats WHERE inode = 1")[0][0]
    return int(volume.redis("HGET", "dirDataLength", "1"))


def stay(volume, end):
    """`end`: what becomes of the mount that took the names."""
    a, b = volume.mount(OURS, "--heartbeat", "1"), volume.mount(OURS, "--heartbeat", "1")
    old = os.urandom(3 << 20)
    for name in ("unlinked", "replaced", "nobody's"):
        write(f"{a}/{name}", old)
    fds = [os.open(f"{b}/{name}", os.O_RDWR) for name in ("unlinked", "replaced")]
    inodes = {os.fstat(fd).st_ino for fd in fds}
    write(f"{a}/new", b"new")
    os.unlink(f"{a}/unlinked"), os.unlink(f"{a}/nobody's"), os.rename(f"{a}/new", f"{a}/replaced")
    assert read(f"{b}/replaced") == b"new", "who opens it by name sees the new one"
    assert all(bytes_of(fd) == old for fd in fds)
    if end == "killed":
        # A killed mount loses the statistics of its last second.
        until("the root's statistics are written", lambda: counted(volume) == len(b"new"))
        server = volume.server(a)
        os.kill(server, signal.SIGKILL)
        until("the kernel lets go of the killed mount", lambda: subprocess.run(["umount", "-l", a], capture_output=True).returncode == 0)
    elif end == "unmounted":
        volume.umount(a)
    else:
        # Nobody has the third one open: it goes when that is certain.
        until("only open files are held", lambda: held(volume) == inodes)
    os.pwrite(fds[0], b"written later", 100)
    os.fsync(fds[0])
    os.posix_fadvise(fds[0], 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fds[1], 0, 0, os.POSIX_FADV_DONTNEED)
    assert bytes_of(fds[0]) == old[:100] + b"written later" + old[113:] and bytes_of(fds[1]) == old
    assert [os.fstat(fd).st_nlink for fd in fds] == [0, 0]
    for fd in fds:
        os.close(fd)
    if end == "there":
        until("closed files are gone", lambda: not held(volume))
        volume.umount(a)
        assert len(volume.sessions()) == 1
    volume.umount(b)
    volume.judge()


def claims(world):
    for engine in ENGINES:
        for end in ("there", "unmounted", "killed"):
            volume = world.volume(engine, "--trash-days", "0", formatter=OURS if end == "killed" else PEER)
            yield f"files without a name stay where they are open, the unlinker {end}, {engine}", lambda v=volume, e=end: stay(v, e)
