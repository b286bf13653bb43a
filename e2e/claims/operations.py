"""operations.py DIR: a bit of everything, always the same, then a file held open without a name until stdin ends."""
import ctypes, os, sys

root, libc = sys.argv[1], ctypes.CDLL(None, use_errno=True)
p = lambda *names: os.path.join(root, *names)
os.umask(0o022)


def write(path, data=b"", offset=0):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if data:
        os.pwrite(fd, data, offset)
        os.fsync(fd)
    os.close(fd)


def checked(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def exchange(a, b):
    checked(libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2))


os.mkdir(p("d")), os.mkdir(p("d", "sub")), os.mkdir(p("sgid")), os.chmod(p("sgid"), 0o2775), os.chown(p("sgid"), 5, 7)
write(p("f"), b"x" * 5000), write(p("f"), b"y" * 90, 4000)
write(p("d", "g"), b"a" * 70000), os.truncate(p("d", "g"), 100), os.truncate(p("d", "g"), 200)
write(p("big"), b"z" * 5, (64 << 20) - 5), write(p("big"), b"Z" * 5, 64 << 20), os.truncate(p("big"), 200 << 20), os.truncate(p("big"), 70 << 20)
os.link(p("f"), p("d", "f2")), os.link(p("f"), p("f3"))
os.symlink("some/target", p("link")), os.mkfifo(p("fifo"), 0o600), os.mknod(p("char"), 0o020600, os.makedev(5, 1))
write(p("sgid", "in")), os.mkdir(p("sgid", "dir"))
os.rename(p("f3"), p("d", "sub", "f4")), os.rename(p("d", "sub"), p("moved"))
write(p("r1"), b"1"), write(p("r2"), b"22"), os.rename(p("r1"), p("r2"))
os.unlink(p("d", "f2"))
write(p("gone"), b"g" * 9000), os.unlink(p("gone"))
os.mkdir(p("gonedir")), os.rmdir(p("gonedir"))
os.mkdir(p("e1")), os.mkdir(p("e2")), os.rename(p("e1"), p("e2"))
os.unlink(p("link")), os.unlink(p("fifo")), os.symlink("another", p("stays"))
write(p("own"), b"o"), os.chown(p("own"), 1000, 1001), os.chmod(p("own"), 0o4755), os.utime(p("own"), ns=(1_000_000_001, 2_000_000_003))
fd = os.open(p("allocated"), os.O_RDWR | os.O_CREAT, 0o600)
os.posix_fallocate(fd, 0, 10000), os.close(fd)
fd = os.open(p("punched"), os.O_RDWR | os.O_CREAT, 0o600)
os.pwrite(fd, b"p" * 20000, 0), os.fsync(fd)
checked(libc.fallocate(fd, 3, ctypes.c_long(4096), ctypes.c_long(8192))), os.close(fd)
write(p("xa"), b"a"), os.mkdir(p("xb")), exchange(p("xa"), p("xb"))
os.mkdir(p(b"\xff".decode(errors="surrogateescape") * 255)), write(p("n" * 255), b"long"), os.unlink(p("n" * 255))
held = os.open(p("held"), os.O_RDWR | os.O_CREAT, 0o600)
os.write(held, b"h" * 300), os.fsync(held), os.unlink(p("held"))
print("ready", flush=True)
sys.stdin.read()
