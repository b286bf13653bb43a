"""`info`, `summary`, `compact` and `rmr` of either client on mounts of either: the same words, the same effect, and nothing
for who may not."""
import errno, fcntl, json, os, re, struct, subprocess
from compaction import fragments, records
from volume import ENGINES, OURS, PEER, run, until, write


def at(where, binary, *words):
    """Runs a tool inside a mount; code and text without times and processes."""
    r = subprocess.run([binary, *words], cwd=where, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    text = re.sub(r"^\S+ \S+ juicefs\[\d+\] ", "", r.stdout + r.stderr, flags=re.M)
    text = re.sub(r" \[\w+@\S+\]$", "", text, flags=re.M)
    # Several names of a file come in any order.
    return r.returncode, re.sub(r"(?:^\t.*\n)+", lambda names: "".join(sorted(names[0].splitlines(True))), text, flags=re.M)


def tree(where):
    os.makedirs(f"{where}/top/a/b")
    fragments(f"{where}/top/f", 3)
    fd = os.open(f"{where}/top/holes", os.O_RDWR | os.O_CREAT)
    for place in (100, 300_000, 70 << 20):
        os.pwrite(fd, b"z" * 5000, place), os.fsync(fd)
    os.ftruncate(fd, 80 << 20), os.close(fd)
    write(f"{where}/top/empty", b"")
    for number in range(12):
        write(f"{where}/top/a/n{number}", b"x" * (number * 4096 + 20_000), sync=False)
    os.symlink("nowhere", f"{where}/top/a/b/link"), os.link(f"{where}/top/f", f"{where}/top/a/b/hard")


def the_same_words(volume):
    ours, theirs = volume.mount(OURS), volume.mount(PEER)
    tree(ours)
    ino = str(os.stat(f"{ours}/top/f").st_ino)
    for words in (["info", "top/f"], ["info", "--raw", "top/f"], ["info", "top/holes"], ["info", "--raw", "top/holes"], ["info", "top/empty"], ["info", "top"],
                  ["info", "-r", "top"], ["info", "-r", "--strict", "."], ["info", "-i", ino], ["info", "top/f", "top/a"], ["summary", "top"], ["summary", "--csv", "top"],
                  ["summary", "-d", "1", "-e", "2", "top"], ["summary", "--depth", "0", "."], ["summary", "--strict", "-d", "5", "-e", "2", "."], ["summary", "top/f"],
                  ["info", "--raw", "-r", "top/a"]):
        said = {(who, mount): at(mount, who, *words) for who in (OURS, PEER) for mount in (ours, theirs)}
        if words[0] == "summary":  # equals come in any order
            said = {by: (code, sorted(text.splitlines())) for by, (code, text) in said.items()}
        wanted = said[PEER, theirs]
        assert wanted[0] == 0 and len(wanted[1]) > 4, wanted
        for (who, mount), got in said.items():
            assert got == wanted, f"{words} by {'us' if who == OURS else 'the peer'} on {'our' if mount == ours else 'its'} mount: {got[1]}\ninstead of {wanted[1]}"
    volume.umount(theirs), volume.umount(ours)


def locks_are_shown(volume):
    """Locks of both clients' mounts, by either's tool on either's mount."""
    ours, theirs = volume.mount(OURS), volume.mount(PEER)
    write(f"{ours}/f", b"x" * 1000)
    until("the other mount has it", lambda: os.path.exists(f"{theirs}/f"))
    held = [os.open(f"{mount}/f", os.O_RDWR) for mount in (ours, theirs)]
    for number, fd in enumerate(held):
        fcntl.flock(fd, fcntl.LOCK_SH)
        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 100 * number), fcntl.lockf(fd, fcntl.LOCK_SH, 0, 1000)
    said = {(who, mount): at(mount, who, "info", "f") for who in (OURS, PEER) for mount in (ours, theirs)}
    code, wanted = said[PEER, theirs]
    # Holders come in any order.
    by_line = lambda text: sorted(text.splitlines())
    assert code == 0 and wanted.count("| W |") + wanted.count("|    W |") == 2 and wanted.count("|    R |") == 4, wanted
    for by, (code, text) in said.items():
        assert code == 0 and by_line(text) == by_line(wanted), f"{by}: {text}\ninstead of {wanted}"
    for fd in held:
        os.close(fd)
    code, text = at(ours, OURS, "info", "f")
    assert code == 0 and "locks" not in text, text
    volume.umount(theirs), volume.umount(ours)


def the_same_effect(volume):
    ours, theirs = volume.mount(OURS), volume.mount(PEER)
    for who, mount in ((PEER, ours), (OURS, theirs), (OURS, ours)):
        tree(mount)
        os.makedirs(f"{mount}/top/dir")
        files = [f"{mount}/top/dir/f{number}" for number in range(3)]
        inos = [fragments(path, 4, seed=number) and os.stat(path).st_ino for number, path in enumerate(files)]
        code, text = at(mount, who, "compact", "top/dir")
        assert code == 0 and re.search(r'INFO>: compact \[\d+:".*/top/dir"\] success', text), text
        assert all(len(records(volume, ino)) == 1 for ino in inos)
        assert all(os.path.getsize(path) == 4000 for path in files)
        code, text = at(mount, who, "compact", "top/holes")
        assert code == 0 and "success" in text, text
        link = os.path.join(volume.folder, "link")
        os.path.lexists(link) or os.symlink("/etc", link)
        code, text = at(mount, who, "rmr", "top/a/b/link", "top/dir")
        assert code == 0, text
        until("the names are gone", lambda: not os.path.lexists(f"{mount}/top/a/b/link") and not os.path.exists(f"{mount}/top/dir"), 0 if mount == ours else 5)
        trashed = [name for hour in os.listdir(f"{mount}/.trash") for name in os.listdir(f"{mount}/.trash/{hour}")]
        assert sum(name.endswith("-f1") for name in trashed) and any(name.endswith("-dir") for name in trashed), trashed
        before = len(trashed)
        code, text = at(mount, who, "rmr", "--skip-trash", "top")
        assert code == 0, text
        until("the tree is gone", lambda: not os.path.exists(f"{mount}/top") and "top" not in os.listdir(mount), 5)
        trashed = [name for hour in os.listdir(f"{mount}/.trash") for name in os.listdir(f"{mount}/.trash/{hour}")]
        assert len(trashed) == before, "nothing went to the trash"
        for name in trashed:
            hour, = os.listdir(f"{mount}/.trash")
            path = f"{mount}/.trash/{hour}/{name}"
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        code, text = at(mount, who, "rmr", "top")
        assert code == 1 and "no such file" in text.lower(), text
    volume.umount(theirs), volume.umount(ours)
    volume.judge()


ASK = r"""
import os, struct, sys, time
where, command, body = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
fd = os.open(where + "/.control", os.O_RDWR)
os.write(fd, struct.pack(">II", command, len(body)) + body)
said, deadline = b"", time.time() + 10
while time.time() < deadline:
    said += os.read(fd, 65536)
    while said[:1] == b"\xfe" and len(said) >= 17:
        said = said[17:]
    if said and (said[0] < 0xfe or len(said) >= 5 + int.from_bytes(said[1:5])):
        break
print(said[0] if said[0] < 0xfe else said[5:].decode())
"""


def asked(where, uid, command, body):
    """What a user's own message is answered with: an errno or a document."""
    r = subprocess.run(["/usr/bin/python3", "-c", ASK, where, str(command), body.hex()], capture_output=True, text=True, timeout=30, user=uid, group=uid, extra_groups=[], cwd="/")
    assert r.returncode == 0, r.stderr
    said = json.loads(r.stdout)
    return errno.errorcode.get(said, "ok") if isinstance(said, int) else said


def not_for_everybody(volume):
    """The tools speak for whoever opened `.control`."""
    os.chmod(volume.folder, 0o755), os.chmod(os.path.dirname(volume.folder), 0o755)
    where = volume.mount(OURS, "-o", "allow_other")
    os.chmod(where, 0o755)
    os.makedirs(f"{where}/mine/deep"), os.makedirs(f"{where}/shut/deep"), os.makedirs(f"{where}/theirs")
    for name in ("mine/f", "mine/deep/g", "shut/deep/h", "theirs/i", "theirs/j"):
        write(f"{where}/{name}", b"x" * 1000)
    os.chown(f"{where}/theirs", 1000, 1000)
    ino = lambda path: os.stat(f"{where}/{path}").st_ino
    root, mine, theirs, shut, hidden = 1, ino("mine"), ino("theirs"), ino("shut"), ino("shut/deep/h")
    os.chmod(f"{where}/shut", 0o700)
    rmr = lambda parent, name, skip=0: struct.pack(">QB", parent, len(name)) + name + bytes([skip, 50])
    info = lambda number: struct.pack(">QBBB", number, 1, 0, 0)
    summary = lambda number: struct.pack(">QBBB", number, 2, 10, 0)
    for uid, command, body, wanted in (
            (1000, 1002, rmr(root, b"mine"), "EACCES"), (1000, 1002, rmr(mine, b"f"), "EACCES"), (1000, 1002, rmr(shut, b"deep"), "EACCES"),
            (1000, 1002, rmr(theirs, b"i", 1), "EPERM"), (1000, 1008, struct.pack(">QH", mine, 1), "EACCES"), (1000, 1002, rmr(theirs, b"i"), "ok"),
            (0, 1002, rmr(theirs, b"j", 1), "ok"), (1000, 1002, rmr(theirs, b"j"), "ENOENT")):
        got = asked(where, uid, command, body)
        assert got == wanted, f"{uid} {command} {body}: {got} instead of {wanted}"
    assert asked(where, 1000, 1005, info(hidden))["Reason"] == "permission denied"
    assert asked(where, 1000, 1007, summary(shut))["Errno"] == errno.EACCES
    assert asked(where, 1000, 1005, info(mine))["Summary"]["Files"] == 2
    assert asked(where, 0, 1005, info(hidden))["Paths"] == ["/shut/deep/h"]
    assert os.path.exists(f"{where}/mine/deep/g") and os.path.exists(f"{where}/shut/deep/h") and os.listdir(f"{where}/theirs") == []
    # A mount of a directory knows nothing else.
    below = volume.mount(OURS, "--subdir", "mine")
    assert asked(below, 0, 1005, info(hidden))["Reason"] == "no such file or directory"
    assert asked(below, 0, 1002, rmr(shut, b"deep")) == "ENOENT" and asked(below, 0, 1008, struct.pack(">QH", theirs, 1)) == "ENOENT"
    assert asked(below, 0, 1005, info(1))["Summary"]["Files"] == 2
    code, text = at("/tmp", OURS, "info", ".")
    assert code and "not inside a JuiceFS mount" in text, text
    volume.umount(below), volume.umount(where)


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine, "--trash-days", "0", store="file")
        yield f"{engine}: tools of either say the same of mounts of either", lambda v=volume: the_same_words(v)
        volume = world.volume(engine, store="file")
        yield f"{engine}: info of either shows locks of both", lambda v=volume: locks_are_shown(v)
        volume = world.volume(engine, "--trash-days", "1", store="file")
        yield f"{engine}: tools of either do the same on mounts of either", lambda v=volume: the_same_effect(v)
    volume = world.volume("sqlite", store="file")
    yield "tools do nothing for who may not", lambda v=volume: not_for_everybody(v)
