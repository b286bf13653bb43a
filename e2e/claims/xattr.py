"""Extended attributes: both clients keep the same ones under the same rules, and the same records."""
import ctypes, os, struct, threading
from volume import ENGINES, OURS, PEER, errno_of, until, write

LIBC = ctypes.CDLL(None, use_errno=True)
FLAGS = ["--enable-xattr", "--heartbeat", "1"]
ACL = struct.pack("<IHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 4, 4, 0xFFFFFFFF, 32, 4, 0xFFFFFFFF)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def raw(path, name, value):
    """setxattr(2) under a name that is no text."""
    r = LIBC.setxattr(path.encode(), name, value, len(value), 0)
    assert r == 0, os.strerror(ctypes.get_errno())


def attributes(path):
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def both_keep(volume):
    ours, theirs = volume.mount(OURS, *FLAGS), volume.mount(PEER, *FLAGS)
    mounts = (ours, theirs)
    expected = {}
    for number, (writer, reader) in enumerate((mounts, mounts[::-1])):
        path = lambda where, name="f": f"{where}/{name}{number}"
        write(path(writer), b"x"), os.mkdir(path(writer, "d")), os.symlink("f", path(writer, "l"))
        values = {"user.a": b"", "user.big": os.urandom(65536), "trusted.t": b"\0\xff", "security.x": b"1", "user." + "n" * 250: b"long"}
        for name, value in values.items():
            os.setxattr(path(writer), name, value)
        raw(path(writer), b"user.\xff\xfe'%", b"raw"), raw(path(reader), b"user.\xc3\xa4", b"umlaut")
        values |= {os.fsdecode(b"user.\xff\xfe'%"): b"raw", "user.\u00e4": b"umlaut"}
        os.setxattr(path(writer, "d"), "user.d", b"1"), os.setxattr(path(writer, "l"), "trusted.l", b"2", follow_symlinks=False)
        for where in mounts:
            assert attributes(path(where)) == values, (where, attributes(path(where)).keys())
            assert attributes(path(where, "d")) == {"user.d": b"1"} and attributes(path(where, "l")) == {"trusted.l": b"2"}
        os.setxattr(path(reader), "user.a", b"changed", os.XATTR_REPLACE), os.removexattr(path(reader), "user.big")
        values["user.a"] = b"changed"
        del values["user.big"]
        for where in mounts:
            assert attributes(path(where)) == values, where
        expected[number] = values
        outcomes = [{
            "create": errno_of(os.setxattr, path(where), "user.a", b"", os.XATTR_CREATE),
            "replace": errno_of(os.setxattr, path(where), "user.none", b"", os.XATTR_REPLACE),
            "remove": errno_of(os.removexattr, path(where), "user.none"),
            "get": errno_of(os.getxattr, path(where), "user.none"),
            "long name": errno_of(os.setxattr, path(where), "user." + "n" * 251, b""),
            "long value": errno_of(os.setxattr, path(where), "user.v", b"v" * 65537),
            "acl": errno_of(os.setxattr, path(where), "system.posix_acl_access", ACL),
            "capability": errno_of(os.setxattr, path(where), "security.capability", CAPABILITY),
            "selinux": errno_of(os.setxattr, path(where), "security.selinux", b"label"),
            "get of selinux": errno_of(os.getxattr, path(where), "security.selinux"),
            "user on a symlink": errno_of(os.setxattr, path(where, "l"), "user.a", b"", follow_symlinks=False),
            "internal": errno_of(os.setxattr, f"{where}/.stats", "user.a", b""),
            "trash": errno_of(os.setxattr, f"{where}/.trash", "user.a", b""),
        } for where in mounts]
        assert outcomes[0] == outcomes[1], outcomes
    # A change of an attribute is a change of the node, not of its data.
    before = os.stat(f"{ours}/f0")
    os.setxattr(f"{ours}/f0", "user.a", b"once more")
    after = os.stat(f"{ours}/f0")
    assert after.st_ctime_ns > before.st_ctime_ns and after.st_mtime_ns == before.st_mtime_ns
    expected[0]["user.a"] = b"once more"
    # A buffer that is too small is said, and so is the length.
    buffer = ctypes.create_string_buffer(2)
    assert LIBC.getxattr(f"{ours}/f0".encode(), b"user.a", buffer, 2) == -1 and os.strerror(ctypes.get_errno()) == "Numerical result out of range"
    assert LIBC.getxattr(f"{ours}/f0".encode(), b"user.a", None, 0) == 9
    # Attributes move with the name, and go with the node.
    os.rename(f"{ours}/f0", f"{ours}/d0/moved"), os.link(f"{ours}/d0/moved", f"{ours}/again")
    assert attributes(f"{theirs}/again") == expected[0]
    for name in ("f1", "l1"):
        os.unlink(f"{ours}/{name}")
    os.rmdir(f"{ours}/d1")
    until("only the living have attributes", lambda: owners(volume) == {os.stat(f"{ours}/{name}").st_ino for name in ("again", "d0")} | {os.lstat(f"{ours}/l0").st_ino})
    for where in mounts:
        volume.umount(where)
    volume.judge()


def owners(volume):
    if volume.engine == "sqlite":
        return {row[0] for row in volume.sql("SELECT DISTINCT inode FROM jfs_xattr")}
    return {int(key[1:]) for key in volume.redis("KEYS", "x*").split()}


def one_creates(volume):
    """Of many that create one attribute at once, on mounts of either client, one does."""
    mounts = [volume.mount(OURS, *FLAGS), volume.mount(OURS, *FLAGS), volume.mount(PEER, *FLAGS)]
    write(f"{mounts[0]}/f", b"")
    for turn in range(20):
        won = []
        def create(where):
            if errno_of(os.setxattr, f"{where}/f", f"user.{turn}", where.encode(), os.XATTR_CREATE) == "ok":
                won.append(where.encode())
        threads = [threading.Thread(target=create, args=(where,)) for where in mounts]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
        assert won == [os.getxattr(f"{mounts[0]}/f", f"user.{turn}")], (turn, won)
    for where in mounts:
        volume.umount(where)
    volume.judge()


def switched(volume):
    """Each flag lets in what it names."""
    where = volume.mount(OURS)
    write(f"{where}/f", b"x")
    calls = lambda: [errno_of(os.setxattr, f"{where}/f", "user.a", b""), errno_of(os.getxattr, f"{where}/f", "user.a"), errno_of(os.listxattr, f"{where}/f")]
    assert calls() == ["ENOTSUP"] * 3, calls()
    volume.umount(where)
    where = volume.mount(OURS, "--enable-xattr", "--enable-cap", "--enable-selinux")
    assert calls() == ["ok"] * 3, calls()
    os.setxattr(f"{where}/f", "security.capability", CAPABILITY), os.setxattr(f"{where}/f", "security.selinux", b"label")
    assert os.getxattr(f"{where}/f", "security.selinux") == b"label"
    # A write takes capabilities away.
    write(f"{where}/f", b"y")
    assert errno_of(os.getxattr, f"{where}/f", "security.capability") == "ENODATA"
    volume.umount(where)
    where = volume.mount(OURS, "--enable-xattr", "--read-only")
    assert os.getxattr(f"{where}/f", "user.a") == b"" and errno_of(os.setxattr, f"{where}/f", "user.a", b"") == "EROFS"
    volume.umount(where)


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine, "--trash-days", "0")
        yield f"{engine}: both clients keep the same attributes", lambda v=volume: both_keep(v)
    volume = world.volume("redis")
    yield "redis: one of many creates an attribute", lambda v=volume: one_creates(v)
    volume = world.volume("sqlite")
    yield "each flag lets in the attributes it names", lambda v=volume: switched(v)
