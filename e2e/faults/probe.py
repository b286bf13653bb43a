"""probe.py DIR OUT [KIND...]: system calls of many kinds in DIR, one process per kind (default all), until OUT.stop is there.
Each call is one line in OUT: kind, call, begin (monotonic), seconds, errno (0: it worked). After a failed call a kind
begins anew with names that nobody has used, so that what became of that call does not matter."""
import os, sys, time

PAUSE = 0.25


class Failed(Exception):
    pass


class Caller:
    def __init__(self, folder, out, kind):
        self.kind, self.number = kind, 0
        self.log = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.folder = os.path.join(folder, kind)

    def fresh(self):
        self.number += 1
        return os.path.join(self.folder, str(self.number))

    def call(self, name, function, *arguments):
        begin, errno, answer = time.monotonic(), 0, None
        try:
            answer = function(*arguments)
        except OSError as error:
            errno = error.errno
        os.write(self.log, f"{self.kind} {name} {begin:.3f} {time.monotonic() - begin:.3f} {errno}\n".encode())
        if errno:
            raise Failed
        return answer

    def open(self, name, path, flags):
        return Descriptor(self, self.call(name, os.open, path, flags))

    def file(self, size=4096):
        """A file that is there, written and closed."""
        path = self.fresh()
        with self.open("create", path, os.O_CREAT | os.O_EXCL | os.O_WRONLY) as fd:
            self.call("write", os.write, fd, b"k" * size)
        return path


class Descriptor:
    """Closed at the end of its block, as one more call."""

    def __init__(self, caller, fd):
        self.caller, self.fd = caller, fd

    def __enter__(self):
        return self.fd

    def __exit__(self, *_):
        self.caller.call("close", os.close, self.fd)


def stat(c):
    path = c.file()
    while True:
        yield c.call("stat", os.stat, path)


def absent(c):
    def is_absent():
        try:
            os.stat(c.fresh())
        except FileNotFoundError:
            return
        raise AssertionError("a name that nobody made")
    while True:
        yield c.call("stat", is_absent)


def listing(c):
    c.file(), c.file()
    while True:
        yield c.call("readdir", os.listdir, c.folder)


def reopen(c):
    path = c.file(200_000)
    while True:
        with c.open("open", path, os.O_RDONLY) as fd:
            assert c.call("pread", os.pread, fd, 10, 199_990) == b"k" * 10
        yield


def create(c):
    while True:
        with c.open("create", c.fresh(), os.O_CREAT | os.O_EXCL | os.O_WRONLY) as fd:
            c.call("write", os.write, fd, b"n" * 30_000)
            c.call("fsync", os.fsync, fd)
        yield


def overwrite(c):
    with c.open("open", c.file(), os.O_RDWR) as fd:
        while True:
            c.call("write", os.pwrite, fd, b"o" * 5000, 100)
            yield c.call("fsync", os.fdatasync, fd)


def trickle(c):
    """Many writes stand in the queue when somebody asks for them."""
    with c.open("open", c.file(), os.O_RDWR) as fd:
        while True:
            for at in range(24):
                c.call("write", os.pwrite, fd, b"t" * 100, at * 100_000)
                time.sleep(1.2)
                yield
            c.call("fsync", os.fsync, fd)


def truncate(c):
    with c.open("open", c.file(), os.O_RDWR) as fd:
        while True:
            c.call("write", os.pwrite, fd, b"x" * 5000, 0)
            yield c.call("ftruncate", os.ftruncate, fd, 3000)


def truncate_at_open(c):
    path = c.file()
    while True:
        with c.open("open", path, os.O_WRONLY | os.O_TRUNC) as fd:
            c.call("write", os.write, fd, b"x" * 5000)
        yield


def times(c):
    with c.open("open", c.file(), os.O_RDWR) as fd:
        while True:
            c.call("write", os.pwrite, fd, b"x" * 5000, 0)
            yield c.call("futimens", lambda: os.utime(fd, (1, 1)))


def allocate(c):
    with c.open("open", c.file(), os.O_RDWR) as fd:
        while True:
            c.call("write", os.pwrite, fd, b"x" * 5000, 0)
            yield c.call("fallocate", os.posix_fallocate, fd, 0, 9000)


def mode(c):
    path = c.file()
    while True:
        yield c.call("chmod", os.chmod, path, 0o640)


def folders(c):
    while True:
        path = c.fresh()
        c.call("mkdir", os.mkdir, path)
        yield c.call("rmdir", os.rmdir, path)


def names(c):
    while True:
        a, b, d = c.fresh(), c.fresh(), c.fresh()
        c.call("mknod", os.mknod, a)
        c.call("rename", os.rename, a, b)
        c.call("link", os.link, b, d)
        yield c.call("unlink", os.unlink, b)


def links(c):
    while True:
        path = c.fresh()
        c.call("symlink", os.symlink, "somewhere", path)
        yield c.call("readlink", os.readlink, path)


def room(c):
    while True:
        yield c.call("statfs", os.statvfs, c.folder)


KINDS = [stat, absent, listing, reopen, create, overwrite, trickle, truncate, truncate_at_open, times, allocate, mode, folders, names, links, room]


def go_on(caller, kind, stop):
    steps = kind(caller)
    while not os.path.exists(stop):
        try:
            next(steps)
        except Failed:
            steps = kind(caller)
        time.sleep(PAUSE)


def main(folder, out, *wanted):
    kinds = [kind for kind in KINDS if kind.__name__ in wanted or not wanted]
    callers = [Caller(folder, out, kind.__name__) for kind in kinds]
    for caller in callers:
        os.makedirs(caller.folder)
    pids = []
    for kind, caller in zip(kinds, callers):
        pid = os.fork()
        if pid == 0:
            try:
                go_on(caller, kind, out + ".stop")
                os._exit(0)
            except BaseException as error:
                print(f"probe {caller.kind}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
        pids.append(pid)
    return max(int(os.waitpid(pid, 0)[1] != 0) for pid in pids)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
