"""Quotas of directories, users and groups: either client sets them, both keep them, and both count the same."""
import os, re, threading, time
from volume import ENGINES, OURS, PEER, errno_of, run, until, write

HEARTBEAT = ["--heartbeat", "1"]


def quota(binary, volume, *words):
    code, text = run(binary, "quota", words[0], volume.meta, *words[1:])
    assert code == 0, text
    return text


def limited(setter, volume, path, *limits):
    """The peer's command writes no sums of a directory that it makes: we make it."""
    quota(OURS, volume, "set", "--path", path, "--create")
    quota(setter, volume, "set", "--path", path, *limits)


def table(text):
    """Cells by the first column."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def checked(volume, *of):
    for binary in (OURS, PEER):
        quota(binary, volume, "check", *of)


def full(where, path, count):
    """Makes files until one is refused; how many there are then."""
    made = 0
    while (outcome := errno_of(write, f"{where}/{path}/f{made}", b"")) == "ok":
        made += 1
        assert made <= count, "nothing is refused"
    assert outcome == "EDQUOT", outcome
    return made


def each_sets_and_both_keep(setter, volume):
    limited(setter, volume, "/d", "--inodes", "6", "--capacity", "1")
    mounts = [volume.mount(binary, *HEARTBEAT) for binary in (OURS, PEER)]
    assert full(mounts[0], "d", 6) == 6 and errno_of(write, f"{mounts[0]}/d/x", b"") == "EDQUOT"
    until("the peer sees what we used", lambda: errno_of(write, f"{mounts[1]}/d/y", b"") == "EDQUOT" or os.unlink(f"{mounts[1]}/d/y"))
    os.unlink(f"{mounts[1]}/d/f0")
    until("there is room again", lambda: errno_of(write, f"{mounts[0]}/d/z", b"") == "ok")
    until("the peer sees that it is gone", lambda: errno_of(write, f"{mounts[1]}/d/y", b"") == "EDQUOT" or os.unlink(f"{mounts[1]}/d/y"))
    os.mkdir(f"{mounts[0]}/e"), write(f"{mounts[0]}/e/f", b"")
    outcomes = [errno_of(os.rename, f"{where}/e/f", f"{where}/d/moved") for where in mounts]
    assert outcomes == ["EDQUOT", "EDQUOT"], outcomes
    outcomes = [errno_of(os.link, f"{where}/e/f", f"{where}/d/linked") for where in mounts]
    assert outcomes == ["EDQUOT", "EDQUOT"], outcomes
    quota(setter, volume, "set", "--path", "/d", "--inodes", "10")
    for where in mounts:
        until("the new limit is known", lambda: errno_of(write, f"{where}/d/more{where[-2:]}", b"") == "ok")
    for where in mounts:
        volume.umount(where)
    checked(volume, "--path", "/d")
    seen = [table(quota(binary, volume, "list")) for binary in (OURS, PEER)]
    assert seen[0] == seen[1] and seen[0]["/d"][4:] == ["8", "80%"], seen
    for binary, path in ((PEER, "/d"), (OURS, "/d")):
        quota(binary, volume, "delete", "--path", path)
    assert not table(quota(OURS, volume, "list"))
    volume.judge(peer_stormed=True)


def owners(setter, volume):
    before = volume.mount(OURS)
    os.mkdir(f"{before}/d"), os.chmod(f"{before}/d", 0o777), write(f"{before}/d/old", b"x" * 5000)
    os.chown(f"{before}/d/old", 1000, 2000)
    volume.umount(before)
    quota(setter, volume, "set", "--uid", "1000", "--inodes", "4")
    quota(setter, volume, "set", "--gid", "2000", "--capacity", "40K")
    mounts = [volume.mount(binary, *HEARTBEAT) for binary in (OURS, PEER)]

    def as_owner(where, name, data=b""):
        """Writes in a process of the user's own, which may not pass the folders above the mount."""
        child = os.fork()
        if not child:
            os.chdir(f"{where}/d"), os.setgroups([]), os.setgid(2000), os.setuid(1000)
            os._exit({"ok": 0, "EDQUOT": 1}.get(errno_of(write, name, data), 2))
        return ["ok", "EDQUOT", "?"][os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]

    made = [as_owner(mounts[0], str(n)) for n in range(4)]
    assert made == ["ok"] * 3 + ["EDQUOT"], made
    until("the peer refuses, too", lambda: as_owner(mounts[1], "y") == "EDQUOT" or os.unlink(f"{mounts[1]}/d/y"))
    os.chown(f"{mounts[1]}/d/0", 0, 0)
    until("there is room again", lambda: as_owner(mounts[0], "z") == "ok")
    assert as_owner(mounts[0], "1", b"x" * 100_000) == "EDQUOT"
    for where in mounts:
        volume.umount(where)
    checked(volume)
    volume.judge()


def storms_of_ours(volume):
    """Two mounts of ours at once below nested quotas; afterwards every sum is what is there."""
    stormed(volume, (OURS, OURS))
    for path in ("/a", "/a/b", "/c"):
        checked(volume, "--path", path)
    volume.judge()


def storms(volume):
    """Both clients at once; a peer that changes what another client changes miscounts by itself, so sums are repaired first."""
    stormed(volume, (OURS, PEER))
    for path in ("/a", "/a/b", "/c"):
        quota(OURS, volume, "check", "--path", path, "--repair")
        checked(volume, "--path", path)
    volume.judge(peer_stormed=True)


def stormed(volume, binaries):
    for path, setter in (("/a", OURS), ("/a/b", OURS), ("/c", PEER)):
        limited(setter, volume, path, "--capacity", "1")
    run(PEER, "config", volume.meta, "--user-group-quota", "--yes", check=True)
    mounts = [volume.mount(binary, *HEARTBEAT) for binary in binaries]
    time.sleep(1.5)  # a heartbeat: from then on every mount knows every quota
    errors = []

    def storm(where, number):
        try:
            for n in range(25):
                own = f"{number}-{n}"
                write(f"{where}/a/{own}", b"x" * (n * 700))
                os.rename(f"{where}/a/{own}", f"{where}/a/b/{own}")
                if n % 3 == 0:
                    os.link(f"{where}/a/b/{own}", f"{where}/c/{own}")
                # The peer tells the directories of a linked file later, when names may be gone.
                if n % 4 == 0 and (number == 0 or n % 3):
                    os.truncate(f"{where}/a/b/{own}", 9000)
                if n % 5 == 0:
                    os.unlink(f"{where}/a/b/{own}")
                if n % 7 == 0 and number == 0:  # the peer loses count of such a directory by itself
                    os.mkdir(f"{where}/a/d{own}"), write(f"{where}/a/d{own}/f", b"y" * 5000), os.rename(f"{where}/a/d{own}", f"{where}/c/d{own}")
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=storm, args=(where, number)) for number, where in enumerate(mounts)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert not errors, errors
    for where in mounts:
        volume.umount(where)


def repair(volume):
    quota(OURS, volume, "set", "--path", "/d", "--create", "--inodes", "100")
    where = volume.mount(OURS)
    write(f"{where}/d/f", b"x" * 5000)
    volume.umount(where)
    if volume.engine == "sqlite":
        volume.sql("UPDATE jfs_dir_quota SET used_space = 4096, used_inodes = 7")
    else:
        volume.redis("HSET", "dirQuotaUsedInodes", "2", "7")
    for binary in (OURS, PEER):
        code, text = run(binary, "quota", "check", volume.meta, "--path", "/d")
        assert code and "--repair" in text, text
    quota(OURS, volume, "check", "--path", "/d", "--repair")
    checked(volume, "--path", "/d")


def room(volume):
    quota(PEER, volume, "set", "--path", "/d", "--create", "--inodes", "100", "--capacity", "1")
    shown = []
    for binary in (OURS, PEER):
        where = volume.mount(binary, "--subdir", "/d", *HEARTBEAT)
        stat = os.statvfs(where)
        shown.append((stat.f_blocks, stat.f_bfree, stat.f_files, stat.f_ffree))
        volume.umount(where)
    assert shown[0] == shown[1] and shown[0][0] * 4096 == 1 << 30, shown


def claims(world):
    for engine in ENGINES:
        for setter, name in ((OURS, "we"), (PEER, "the peer")):
            volume = world.volume(engine)
            yield f"quota: {name} set a directory's, both keep it, {engine}", lambda setter=setter, volume=volume: each_sets_and_both_keep(setter, volume)
            volume = world.volume(engine, "--trash-days", "0")
            yield f"quota: {name} set a user's and a group's, both keep them, {engine}", lambda setter=setter, volume=volume: owners(setter, volume)
        for claim in (storms, storms_of_ours, repair, room):
            volume = world.volume(engine)
            yield f"quota: {claim.__name__}, {engine}", lambda claim=claim, volume=volume: claim(volume)
