"""System calls that the peer does not do: what they leave is a volume that it reads."""
import ctypes, os, stat
from volume import ENGINES, OURS, PEER, errno_of, read, until, write

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = -100, 0x400, 0x1000
CHUNK = 64 << 20


def call(name, *arguments):
    if getattr(LIBC, name)(*arguments):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def nameless(volume):
    """O_TMPFILE: a file without a name goes with its last close, unless it is given one, by either way."""
    a, theirs = volume.mount(OURS), volume.mount(PEER, "--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0")
    os.mkdir(f"{a}/d"), os.chown(f"{a}/d", 0, 77), os.chmod(f"{a}/d", 0o2775)
    body = os.urandom(5 << 20)
    before = os.stat(f"{a}/d").st_mtime_ns
    for name in ("by path", "by descriptor", None):
        fd = os.open(f"{a}/d", os.O_TMPFILE | os.O_RDWR, 0o640)
        made = os.fstat(fd)
        assert (made.st_nlink, stat.S_IMODE(made.st_mode), made.st_gid, made.st_size) == (0, 0o640, 77, 0), made
        os.pwrite(fd, body, 0)
        # Also through another descriptor of it.
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        assert os.pread(again, len(body), 0) == body
        os.close(again)
        if name == "by path":
            call("linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, f"{a}/d/{name}".encode(), AT_SYMLINK_FOLLOW)
        elif name:
            call("linkat", fd, b"", AT_FDCWD, f"{a}/d/{name}".encode(), AT_EMPTY_PATH)
        if name:
            assert os.fstat(fd).st_nlink == 1
        os.close(fd)
    assert sorted(os.listdir(f"{a}/d")) == ["by descriptor", "by path"] and os.stat(f"{a}/d").st_mtime_ns > before
    fd = os.open(f"{a}/d", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    assert errno_of(call, "linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, f"{a}/no".encode(), AT_SYMLINK_FOLLOW) == "ENOENT"
    os.close(fd)
    for name in ("by path", "by descriptor"):
        assert read(f"{theirs}/d/{name}") == body and os.stat(f"{theirs}/d/{name}").st_nlink == 1
    os.link(f"{a}/d/by path", f"{a}/second")
    os.unlink(f"{theirs}/d/by path")
    assert read(f"{a}/second") == body
    volume.umount(a), volume.umount(theirs)
    volume.judge()


def sparse(volume):
    """SEEK_DATA and SEEK_HOLE say where bytes are, those on their way too, whoever wrote them."""
    a = volume.mount(OURS)
    fd = os.open(f"{a}/f", os.O_RDWR | os.O_CREAT)
    at = [(1 << 20, 5000), (CHUNK - 100, 300), (5 * CHUNK + 7, 1)]
    for offset, size in at:
        os.pwrite(fd, b"x" * size, offset)
    end = 6 * CHUNK
    os.truncate(f"{a}/f", end)

    def runs(fd):
        found, place = [], 0
        while errno_of(os.lseek, fd, place, os.SEEK_DATA) == "ok":
            begin = os.lseek(fd, place, os.SEEK_DATA)
            place = os.lseek(fd, begin, os.SEEK_HOLE)
            found.append((begin, place - begin))
        assert os.lseek(fd, place, os.SEEK_HOLE) == place if place < end else True
        return found

    assert runs(fd) == at, runs(fd)
    assert errno_of(os.lseek, fd, end, os.SEEK_HOLE) == errno_of(os.lseek, fd, end, os.SEEK_DATA) == "ENXIO"
    # A hole that is punched, bytes that are not stored yet.
    call("fallocate", fd, 3, ctypes.c_long((1 << 20) + 1000), ctypes.c_long(1000))
    os.pwrite(fd, b"y" * 10, 100)
    assert runs(fd) == [(100, 10), (1 << 20, 1000), ((1 << 20) + 2000, 3000), *at[1:]], runs(fd)
    os.close(fd)
    volume.umount(a)
    theirs = volume.mount(PEER)
    write(f"{theirs}/f", b"z" * 50, offset=3 * CHUNK)
    volume.umount(theirs)
    a = volume.mount(OURS)
    fd = os.open(f"{a}/f", os.O_RDONLY)
    assert (3 * CHUNK, 50) in runs(fd)
    os.close(fd)
    volume.umount(a)
    volume.judge()


def whiteout(volume):
    """RENAME_WHITEOUT leaves a character device 0:0 under the old name, in the same step."""
    a = volume.mount(OURS)
    os.mkdir(f"{a}/d"), os.mkdir(f"{a}/sub")
    write(f"{a}/f", b"f"), write(f"{a}/d/old", b"old")
    rename = lambda old, new, flags=4: call("renameat2", AT_FDCWD, f"{a}/{old}".encode(), AT_FDCWD, f"{a}/{new}".encode(), flags)
    rename("f", "d/f"), rename("sub", "d/sub"), rename("d/f", "d/old")
    for name in ("f", "sub", "d/f"):
        left = os.lstat(f"{a}/{name}")
        assert stat.S_ISCHR(left.st_mode) and left.st_rdev == 0 and left.st_nlink == 1, (name, left)
    assert read(f"{a}/d/old") == b"f" and os.path.isdir(f"{a}/d/sub") and sorted(name for name in os.listdir(a) if name[0] != ".") == ["d", "f", "sub"]
    assert errno_of(rename, "d/old", "f", 4 | 2) == "EINVAL" and os.stat(a).st_nlink == 3 and os.stat(f"{a}/d").st_nlink == 3
    # Replacing a whiteout, as overlay file systems do.
    rename("d/old", "f", 0)
    os.unlink(f"{a}/d/f"), os.unlink(f"{a}/sub")
    volume.umount(a)
    theirs = volume.mount(PEER)
    assert read(f"{theirs}/f") == b"f" and os.listdir(f"{theirs}/d") == ["sub"]
    volume.umount(theirs)
    volume.judge()


def claims(world):
    for engine in ENGINES:
        for name, claim in (("files begin without a name", nameless), ("holes are told from bytes", sparse), ("a whiteout takes the old name", whiteout)):
            volume = world.volume(engine, "--trash-days", "0" if engine == "redis" else "1")
            yield f"{name}, {engine}", lambda v=volume, c=claim: c(v)
