"""A tree with everything that a file system may be asked to keep, and what such a tree looks like afterwards."""
import collections, hashlib, os, random, stat


TIMED = (b"d/f6", b"renamed")  # set, not made by the clock


def make(root, longest_target=4000):
    rnd = random.Random(7)
    p = lambda *names: os.path.join(os.fsencode(root), *[os.fsencode(n) for n in names])
    os.mkdir(p("d"), 0o755)
    for n in range(40):
        with open(p("d", f"f{n}"), "wb") as f:
            f.write(rnd.randbytes(rnd.choice([0, 1, 4096, 70000, 300000])))
    os.mkdir(p(b"x" * 255)), os.mkdir(p(b"bytes \xff\xfe\x80 \x01\n"))
    with open(p(b"x" * 255, b"\xe4" * 255), "wb") as f:
        f.write(b"long")
    with open(p(b"bytes \xff\xfe\x80 \x01\n", b"\xc3\x28"), "wb") as f:
        f.write(b"not utf-8")
    os.mknod(p("char"), stat.S_IFCHR | 0o640, os.makedev(5, 1))
    os.mknod(p("block"), stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    os.mkfifo(p("fifo"), 0o622)
    os.mknod(p("socket"), stat.S_IFSOCK | 0o755)
    os.symlink(b"d/f1", p("link")), os.symlink(b"\xff" * longest_target, p("longlink")), os.symlink(b"/nowhere", p("dangling"))
    with open(p("hole"), "wb") as f:
        f.seek(90 << 20), f.write(b"end"), f.seek(70 << 20), f.write(b"middle")
    with open(p("big"), "wb") as f:  # over one chunk, borders of blocks and chunks crossed
        block = rnd.randbytes(1 << 20)
        for n in range(67):
            f.write(block[n:] + block[:n])
    with open(p("patched"), "wb") as f:
        f.write(rnd.randbytes(9 << 20))
        for _ in range(30):
            f.seek(rnd.randrange(9 << 20)), f.write(rnd.randbytes(rnd.randrange(1, 100000)))
    os.truncate(p("patched"), 5 << 20), os.truncate(p("patched"), 7 << 20)
    for mode in (0o4755, 0o2755, 0o1777, 0o0000, 0o7777):
        with open(p(f"mode{mode:o}"), "wb"):
            pass
        os.chmod(p(f"mode{mode:o}"), mode)
    os.chown(p("d", "f2"), 1234, 5678), os.chown(p("link"), 12, 34, follow_symlinks=False)
    os.mkdir(p("hard")), os.mkdir(p("hard2"))
    for n in range(3):
        os.link(p("d", "f3"), p("hard", f"l{n}"))
    os.link(p("d", "f3"), p("hard2", "l")), os.link(p("d", "f4"), p("hard2", "once")), os.unlink(p("d", "f4"))
    os.unlink(p("hard", "l1"))
    os.rename(p("d", "f5"), p("hard2", "moved")), os.rename(p("hard2"), p("renamed"))
    os.makedirs(p("deep/" + "/".join("abcdefghij")))
    with open(p("deep/" + "/".join("abcdefghij"), "leaf"), "wb") as f:
        f.write(b"leaf")
    os.utime(p("d", "f6"), ns=(1_000_000_000_123_456_789, 1_600_000_000_987_654_321))
    os.utime(p("renamed"), ns=(7, 999_999_999))


def look(root):
    """path -> what is to be the same for every client; link counts and inode numbers make hard links visible."""
    seen = {}
    top = os.fsencode(root)
    for folder, names, files in os.walk(top):
        for name in sorted(names) + sorted(files):
            path = os.path.join(folder, name)
            s = os.lstat(path)
            what = [s.st_ino, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_rdev]
            if stat.S_ISREG(s.st_mode):
                with open(path, "rb") as f:
                    digest = hashlib.sha1()
                    while part := f.read(1 << 20):
                        digest.update(part)
                what.append(digest.hexdigest())
            elif stat.S_ISLNK(s.st_mode):
                what.append(os.readlink(path))
            seen[os.path.relpath(path, top)] = tuple(what)
    return seen


def essence(seen):
    """What any file system tells alike of such a tree. Link counts are told as names: those in the trash count too."""
    told, names = {}, collections.Counter(ino for ino, *_ in seen.values())
    for path, (ino, mode, uid, gid, _, size, mtime, _, rdev, *content) in seen.items():
        is_directory = stat.S_ISDIR(int(mode, 8))
        told[path] = (mode, uid, gid, rdev, *content) + (() if is_directory else (names[ino], size)) + ((mtime,) if path in TIMED else ())
    return {path: what for path, what in told.items() if path != b"longlink"}


def differences(a, b):
    return [f"{path!r}: {a.get(path)} <> {b.get(path)}" for path in sorted(set(a) | set(b)) if a.get(path) != b.get(path)]
