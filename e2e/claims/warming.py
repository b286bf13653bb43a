"""`warmup` of either client on mounts of either: what is cached afterwards, and what is said of it."""
import os, re, shutil, subprocess
from tools import at
from volume import ENGINES, OURS, PEER, until, write


# However full the machine's disk is: what is asked for is cached.
ROOM = ("--free-space-ratio", "0.001")


def cached(where):
    """Bytes of blocks below a mount's cache directory."""
    found = [name for folder, _, names in os.walk(f"{where}.cache") if "/raw/" in folder + "/" for name in names]
    return sum(int(name.rsplit("_", 1)[1]) for name in found if re.fullmatch(r"\d+_\d+_\d+", name))


def tree(where):
    os.makedirs(f"{where}/top/deep/er")
    for number, path in enumerate(("top/a", "top/deep/b", "top/deep/er/c")):
        write(f"{where}/{path}", os.urandom(5_000_000 + number))
    os.symlink("a", f"{where}/top/link"), write(f"{where}/top/empty", b"")
    with open(f"{where}/top/holes", "wb") as f:
        f.truncate(80 << 20), f.seek(70 << 20), f.write(b"x" * 1000)


def said(text):
    """What a tool says of how much, without where."""
    return re.sub(r"^[|+].*\n| \[cli\]$", "", text, flags=re.M)


def the_same(volume):
    ours, theirs = volume.mount(OURS, *ROOM), volume.mount(PEER, *ROOM)
    tree(ours)
    all_bytes = 15_000_003 + 1000
    listed = os.path.join(volume.folder, "list")
    for mount in (ours, theirs):
        words = {}
        for who in (OURS, PEER):
            told = words.setdefault(who, [])
            step = lambda *line: told.append((" ".join(line), *(lambda code, text: (code, said(text)))(*at(mount, who, "warmup", *line))))
            step("--evict", "top")
            until("nothing is cached", lambda: cached(mount) == 0)
            step("--check", "top")
            step("top")
            # The peer's mount answers before its disk has it.
            until("all is cached", lambda: cached(mount) == all_bytes, 0 if mount == ours else 10)
            code, text = at(mount, who, "warmup", "--check", "top")
            assert code == 0 and re.search(rf"\| {re.escape(mount)}.cache/[0-9a-f-]+/ +\| 14 MiB \| +100.0% \|", text), text
            step("--check", "top")
            step("--evict", "top/deep/b", "top/a")
            until("two files are not cached", lambda: cached(mount) == 5_001_002)
            step("--check", "top")
            with open(listed, "w") as f:
                f.write(f"{mount}/top/a\n\n  {mount}/top/deep/b\n")
            step("-f", listed, "-p", "2")
            until("all is cached", lambda: cached(mount) == all_bytes, 0 if mount == ours else 10)
            step("--check", "--evict", "top"), step("--check", "top/empty")
            step("--evict", "."), until("nothing is cached", lambda: cached(mount) == 0)
            step("-b", "-p", "0", "top")
            until("it is cached in the background", lambda: cached(mount) == all_bytes)
            step(), step("-f", "/nowhere/list")
        for mine, peers in zip(words[OURS], words[PEER]):
            if mine[1] == 0:
                assert mine == peers, f"{mine} instead of {peers} on {mount}"
            else:
                assert peers[1] != 0 and "<FATAL>" in mine[2], (mine, peers)
    for path in ("top/none", "/etc"):
        code, text = at(ours, OURS, "warmup", path)
        assert code == 1 and ("No such file" in text or "not inside" in text), text
    volume.umount(theirs), volume.umount(ours)


def reads_come_from_it(volume):
    """What was warmed is read without the store; what can't be read is said in the mount's log, and the rest is warmed."""
    where = volume.mount(OURS, *ROOM)
    for name in ("kept", "lost", "shut"):
        write(f"{where}/{name}", os.urandom(3_000_000))
    os.chmod(f"{where}/shut", 0o600)
    at(where, OURS, "warmup", "--evict", ".")
    lost = os.stat(f"{where}/lost").st_ino
    keys = re.findall(r"chunks/\S+", at(where, OURS, "info", "lost")[1])
    bucket = os.path.join(volume.folder, "data", volume.name)
    paths = [os.path.join(bucket, key) for key in keys]
    assert paths
    for path in paths:
        os.rename(path, path + ".away")
    code, text = at(where, OURS, "warmup", "kept", "lost")
    assert code == 0 and "warmup cache: 1 files" in text, text
    assert cached(where) == 3_000_000 and f"inode={lost}" in volume.log(where)
    os.rename(bucket, bucket + ".away")
    with open(f"{where}/kept", "rb") as f:
        assert len(f.read()) == 3_000_000
    os.rename(bucket + ".away", bucket)
    for path in paths:
        os.rename(path + ".away", path)
    os.chmod(volume.folder, 0o755), os.chmod(os.path.dirname(volume.folder), 0o755)
    volume.umount(where)
    where = volume.mount(OURS, *ROOM, "-o", "allow_other")
    # Whoever may not pass root's directories finds the command here.
    command = shutil.copy(OURS, os.path.join(volume.folder, "juicefs"))
    r = subprocess.run([command, "warmup", "."], cwd=where, user=1000, group=1000, extra_groups=[], capture_output=True, text=True)
    assert r.returncode == 0 and "warmup cache: 2 files" in r.stderr, r
    volume.umount(where)


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine, "--trash-days", "0", store="file")
        yield f"{engine}: warmup of either does the same on mounts of either", lambda v=volume: the_same(v)
    volume = world.volume("sqlite", "--trash-days", "0", store="file")
    yield "what was warmed is read without the store", lambda v=volume: reads_come_from_it(v)
