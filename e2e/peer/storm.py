"""storm.py DIR SEED SECONDS WHO OPERATIONS: random operations on names that others use at the same time, until the
time is over and each has succeeded. Errors that a race explains are expected; any other ends in exit code 1."""
import ctypes, errno, os, random, stat, sys, time

root, seed, seconds, who, wanted = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5].split(",")
RACES = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ESTALE, errno.EPERM, errno.EBUSY, errno.ELOOP}
RENAME_NOREPLACE, AT_FDCWD = 1, -100
libc = ctypes.CDLL(None, use_errno=True)
rnd = random.Random(seed)
dirs = [os.path.join(root, f"s{n}") for n in range(3)]
for d in dirs:
    os.makedirs(d, exist_ok=True)
name = lambda: os.path.join(rnd.choice(dirs), f"n{rnd.randrange(12)}")
counts, surprises = dict.fromkeys(wanted, 0), []
end, give_up = time.monotonic() + seconds, time.monotonic() + seconds + 60


def create(): os.close(os.open(name(), os.O_CREAT | os.O_WRONLY, 0o644))
def exclusive(): os.close(os.open(name(), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
def write():
    fd = os.open(name(), os.O_WRONLY)
    try: os.pwrite(fd, bytes([rnd.randrange(256)]) * rnd.randrange(1, 200000), rnd.randrange(300000))
    finally: os.close(fd)
def append():
    fd = os.open(name(), os.O_WRONLY | os.O_APPEND)
    try: os.write(fd, b"a" * rnd.randrange(1, 5000))
    finally: os.close(fd)
def truncate(): os.truncate(name(), rnd.randrange(400000))
def read():
    with open(name(), "rb") as f: f.read()
def unlink(): os.unlink(name())
def mkdir(): os.mkdir(name())
def rmdir(): os.rmdir(name())
def rename(): os.rename(name(), name())
def move():  # replaces nothing
    old, new = name(), name()
    if libc.renameat2(AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), RENAME_NOREPLACE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), old, None, new)
def link(): os.link(name(), name(), follow_symlinks=False)
def link_file():
    old = name()
    if stat.S_ISLNK(os.lstat(old).st_mode): raise OSError(errno.ELOOP, "a symlink", old)
    os.link(old, name(), follow_symlinks=False)
def symlink(): os.symlink("target" + who, name())
def chmod(): os.chmod(name(), rnd.choice([0o600, 0o644, 0o777, 0o4755]))
def listing(): [os.lstat(e.path) for e in os.scandir(rnd.choice(dirs))]
def own():  # what nobody else touches must always be right
    path, body = os.path.join(root, f"own.{who}"), rnd.randbytes(rnd.randrange(1, 300000))
    with open(path, "wb") as f: f.write(body)
    with open(path, "rb") as f:
        if f.read() != body: surprises.append("own file reads back other bytes")


ops = [globals()[operation] for operation in wanted]
while time.monotonic() < end or not all(counts.values()):
    if time.monotonic() > give_up:
        surprises.append(f"never succeeded: {[operation for operation, count in counts.items() if not count]}")
        break
    op = rnd.choice(ops)
    try:
        op()
        counts[op.__name__] += 1
    except OSError as e:
        # Reading, writing or closing a file that another client has just removed may fail; the peer answers EIO or EBADF too.
        is_removed = who.startswith("peer") and e.errno in (errno.EIO, errno.EBADF) and op in (read, write, append, truncate, create, exclusive)
        # Its renames in database servers take a node that another has just removed for one with all fields zero.
        is_removed |= who.startswith("peer") and e.errno == errno.EIO and op in (rename, move)
        if e.errno not in RACES and not is_removed:
            surprises.append(f"{op.__name__}: {e}")
print(f"{who} in {os.path.basename(root)}: {sum(counts.values())} operations {'; '.join(surprises[:5])}")
sys.exit(1 if surprises else 0)
