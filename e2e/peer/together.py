"""Both clients on one volume at the same time, in the same directories and files.

`strict`: afterwards no record may be off by one. The peer does what it alone does right (known.py); we do everything.
`wild`: both do everything; what the peer alone breaks is excused, repaired by the peer, and then nothing is excused."""
import os, random, re, subprocess, sys, time
import judges, known, tree
from volume import OURS, PEER, check

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = "create exclusive mkdir rmdir unlink symlink chmod listing".split()
DATA = "write write append truncate read own".split()
ALL = NAMES + DATA + "create unlink rename rename rename link link".split()
# With several names of a file that changes its length the peer miscounts, whoever made them ("links").
WITHOUT_LINKS = [operation for operation in ALL if operation != "link"]


def peer_names(has_trash):
    """Replaces nothing ("left", "restarted", "taken"), links no symlinks, unlinks nothing that may be open ("sustained")."""
    return [operation for operation in NAMES if has_trash or operation != "unlink"] + ["move", "move", "link_file"]


def peer_data():
    """Unlinks nothing that may be open ("unlinked") and gives no second name ("links")."""
    return [operation for operation in NAMES if operation != "unlink"] + DATA + ["move", "move"]


def peer_all(has_trash):
    """With trash on it replaces nothing ("taken")."""
    return [{"rename": "move"}.get(operation, operation) if has_trash else operation for operation in ALL]


def storm(volume, name, seconds, seed, players):
    """players: (mount, directory, who, operations)"""
    mounts = {where for where, *_ in players}
    for where, directory, *_ in players:
        os.makedirs(os.path.join(where, directory), exist_ok=True)
    storms = [subprocess.Popen([sys.executable, os.path.join(HERE, "storm.py"), os.path.join(where, directory), str(seed + n), str(seconds), f"{who}{n}", ",".join(operations)],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for n, (where, directory, who, operations) in enumerate(players)]
    said = [s.communicate()[0].strip() for s in storms]
    print("      " + "\n      ".join(said))
    wrong = any(s.returncode for s in storms)
    check(f"{name} meets races only", wrong and said + [line for where in mounts for line in volume.complaints(where)])


def fresh_mounts_agree(volume, name, directories):
    ours, peer = volume.mount(OURS), volume.mount(PEER)
    for directory in directories:
        seen = [tree.look(os.path.join(where, directory)) for where in (ours, peer)]
        check(f"{name}: fresh mounts of both see the same {directory}", tree.differences(*seen)[:5] or (len(seen[0]) < 10 and "hardly anything is there"))
    room = [[getattr(os.statvfs(where), field) for field in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_namemax")] for where in (ours, peer)]
    check(f"{name}: fresh mounts of both tell the same room", room[0] != room[1] and room)
    volume.umount(ours, peer)


def opens(where, body, patience):
    """What is wrong with what an open finds. `patience`: seconds in which it may still find what was there before."""
    deadline = time.monotonic() + patience
    while True:
        with open(os.path.join(where, "turns", "file"), "rb") as f:
            found = f.read()
        if found == body:
            return ""
        if time.monotonic() > deadline:
            return f"{len(found)} bytes are found, {len(body)} were closed"


def turns(ours, peer, name):
    """Close-to-open both ways: what one closed is what the other opens."""
    rnd, body, problem = random.Random(11), b"", ""
    os.mkdir(os.path.join(ours, "turns"))
    with open(os.path.join(ours, "turns", "file"), "wb"):
        pass
    for n in range(60):
        writer, reader = ((ours, peer), (peer, ours))[n % 2]
        truncates = n % 5 == 4
        with open(os.path.join(writer, "turns", "file"), "r+b") as f:
            at, part = rnd.randrange(len(body) + 5000), rnd.randbytes(rnd.randrange(1, 100000))
            f.seek(at), f.write(part)
            body = body[:at].ljust(at, b"\0") + part + body[at + len(part):]
            if truncates:
                length = rnd.randrange(len(body) + 200000)
                f.truncate(length)
                body = body[:length].ljust(length, b"\0")
        patience = known.ATTR_CACHE_SECONDS + 4 if truncates and reader == peer else 0
        problem = opens(reader, body, patience)
        if problem:
            problem = f"turn {n}, {'the peer' if reader == peer else 'ours'} reads: {problem}"
            break
    check(f"{name}: each opens what the other closed", problem)


def named(findings, top):
    """The findings with the paths of the directories that they name by inode."""
    inodes = {str(os.lstat(folder).st_ino): os.path.relpath(folder, top) for folder, _, _ in os.walk(top)}
    return [re.sub(r"(?<=directory )\d+", lambda found: f"{found[0]} ({inodes.get(found[0], '?')})", finding) for finding in findings[:20]]


def strict(volume, name, seconds, seed):
    has_trash = volume.setting["TrashDays"] > 0
    one, two, peer = volume.mount(OURS), volume.mount(OURS), volume.mount(PEER)
    turns(one, peer, name)
    storm(volume, f"{name}: a strict storm", seconds, seed, [
        (one, "names", "ours", ALL), (peer, "names", "peer", peer_names(has_trash)),
        (two, "data", "ours", WITHOUT_LINKS), (peer, "data", "peer", peer_data()),
        (one, "ours", "ours", ALL), (two, "ours", "ours", ALL)])
    volume.umount(one, two, peer)
    findings = volume.audit()
    if findings:
        where = volume.mount(OURS)
        findings = named(findings, where)
        volume.umount(where)
    if volume.is_miscounted:
        findings = [finding for finding in findings if "(ours" in finding or not judges.is_excused(finding, True)]
    check(f"{name}: after a strict storm no record is wrong", findings)
    fresh_mounts_agree(volume, f"{name} after a strict storm", ["names", "data", "ours"])


def wild(volume, name, seconds, seed, kinds=(OURS, PEER)):
    has_trash = volume.setting["TrashDays"] > 0
    mounts = [volume.mount(binary) for binary in kinds]
    player = {OURS: ("ours", ALL), PEER: ("peer", peer_all(has_trash))}
    storm(volume, f"{name}: a wild storm", seconds, seed, [(where, "wild", *player[binary]) for where, binary in list(zip(mounts, kinds)) * 2])
    volume.umount(*mounts)
    findings = volume.audit()
    check(f"{name}: after a wild storm nothing is wrong that the peer alone does right", [finding for finding in findings if not judges.is_excused(finding, volume.is_miscounted)][:20])
    return findings


def both_at_once(volume, name, seconds, seed):
    strict(volume, name, seconds, seed)
    if volume.is_miscounted:
        volume.repair(f"{name} after a strict storm")
    volume.judge(f"{name} after a strict storm", volume.is_beyond_repair)
    wild(volume, name, seconds, seed)
    fresh_mounts_agree(volume, f"{name} after a wild storm", ["wild"])
    volume.repair(f"{name} after a wild storm")
