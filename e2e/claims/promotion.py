"""A mirror becomes a volume of its own: not while the source lives, unless it is fenced, which makes stock clients leave and
loses nothing, or given up; the numbers of both never meet; both clients then use it; the former source rejoins as a mirror."""
import json, os
from mirror import Mirror, same_bytes, storm
from mirror_buckets import Own
from volume import OURS, PEER, errno_of, read, run, until, write


def promote(mirror, *options):
    code, text = run(OURS, "mirror", "promote", mirror.at.meta, *options)
    return code, text, json.loads(text[text.index("{"):text.rindex("}") + 1]) if code == 0 else None


def highest(volume):
    """The highest numbers of blocks in the bucket of a volume in a folder."""
    return [int(name.split("_")[0]) for _, _, names in os.walk(f"{volume.folder}/data/{volume.name}/chunks") for name in names]


def tree(top):
    return {os.path.relpath(os.path.join(at, name), top) for at, dirs, files in os.walk(top) for name in files + dirs if not (at == top and name.startswith("."))}


def fenced(world, volume, engine, mirror):
    mirror.create()
    wheres = [volume.mount(binary, "--heartbeat", "2") for binary in (OURS, PEER)]
    servers = [volume.server(where) for where in wheres]
    for name in "abc":
        os.mkdir(f"{wheres[0]}/{name}")
    [storm(n, where, 80) for n, where in enumerate(wheres)]
    write(f"{wheres[1]}/a/last", b"last")
    os.link(f"{wheres[1]}/a/last", f"{wheres[1]}/b/also")
    before = tree(wheres[1])
    mirror.follow()
    try:
        until(f"the mirror follows: {mirror.tail()}", mirror.caught_up, 30)
        code, text, _ = promote(mirror)
        assert code == 1 and "is alive, 2 clients" in text and "--fence" in text, text
        code, text, promoted = promote(mirror, "--fence")
        assert code == 0 and promoted["LostVersions"] == 0 and promoted["BrokenFileCount"] == 0, text
        for where, server in zip(wheres, servers):
            until(f"{where} is left", lambda s=server: not os.path.exists(f"/proc/{s}"), 30)
            assert not os.path.ismount(where), f"{where} is still mounted"
        assert mirror.process.wait(20) == 0, mirror.tail()
        code, text, _ = volume.try_mount(PEER)
        assert code and "version" in text, f"a stock client mounts a fenced volume: {text}"
        code, text, fenced = volume.try_mount(OURS, "--heartbeat", "2")
        assert code == 0 and "is fenced" in text and errno_of(write, f"{fenced}/x", b"") == "EROFS", text
        volume.umount(fenced)
        both = [mirror.at.mount(binary, "--heartbeat", "2") for binary in (PEER, OURS)]
        assert tree(both[0]) == before, tree(both[0]) ^ before
        assert read(f"{both[0]}/a/last") == b"last" == read(f"{both[1]}/b/also")
        for number, where in enumerate(both):
            write(f"{where}/new{number}", b"n" * 5000)
            ino = os.stat(f"{where}/new{number}").st_ino
            assert ino >= promoted["FirstInode"], f"{ino} is a number of the source's: {promoted}"
        os.unlink(f"{both[0]}/a/last")
        storm(9, both[0], 60), storm(8, both[1], 60)
        same_bytes(both[0], both[1])
        [mirror.at.umount(where) for where in both]
        mirror.at.judge()
        # The former source becomes the mirror of the new one.
        run(OURS, "mirror", "create", mirror.at.meta, volume.meta, "--name", "former", "--rejoin", check=True)
        back = mirror.back(volume)
        back.follow()
        try:
            until(f"the former source follows: {back.tail()}", back.caught_up, 30)
            run(OURS, "mirror", "check", volume.meta, check=True)
        finally:
            back.kill()
    finally:
        if mirror.process.poll() is None:
            mirror.kill()


def forced(world, volume):
    """Nobody fences: the stock client goes on, and no number is given out twice."""
    mirror = Mirror(world, volume, "sqlite")
    mirror.create()
    there = volume.mount(PEER, "--heartbeat", "2")
    write(f"{there}/before", b"before")
    mirror.follow()
    try:
        until(f"the mirror follows: {mirror.tail()}", mirror.caught_up, 30)
        code, text, promoted = promote(mirror, "--force")
        assert code == 0 and "not fenced" in text, text
        here = mirror.at.mount(PEER)
        names = [f"n{n}" for n in range(60)]
        [write(f"{where}/{name}", where.encode(), sync=False) for name in names for where in (there, here)]
        assert {os.stat(f"{there}/{n}").st_ino for n in names}.isdisjoint(os.stat(f"{here}/{n}").st_ino for n in names)
        ids = highest(volume)
        assert len(ids) == len(set(ids)) and sum(id >= promoted["FirstSlice"] for id in ids) == 60, sorted(ids)[-70:]
        assert all(read(f"{where}/{name}") == where.encode() for name in names for where in (there, here))
        volume.umount(there), mirror.at.umount(here)
    finally:
        if mirror.process.poll() is None:
            mirror.kill()


def burned(world, volume):
    """Database and bucket of the source are gone with some blocks: the report names whose."""
    mirror = Own(world, volume, "sqlite")
    mirror.create()
    there = volume.mount(OURS)
    write(f"{there}/kept", b"kept")
    mirror.follow()
    try:
        until(f"the mirror follows: {mirror.tail()}", mirror.caught_up, 30)
        before = set(mirror.blocks())
        near = os.path.join(mirror.bucket, volume.name, "chunks/0/0")
        os.mkdir(f"{there}/d")
        write(f"{there}/d/lost", b"lost")
        until("it is copied", lambda: mirror.caught_up() and len(mirror.blocks()) == len(before) + 1)
        mirror.kill()
        os.unlink(os.path.join(near, os.path.basename((set(mirror.blocks()) - before).pop())))
        volume.umount(there)
        os.rename(f"{volume.folder}/data", f"{volume.folder}/burned")
        os.rename(f"{volume.folder}/meta.db", f"{volume.folder}/burned.db")
        os.mkdir(f"{volume.folder}/meta.db")
        code, text, _ = promote(mirror)
        assert code == 1 and "does not answer" in text and "--force" in text, text
        code, text, _ = promote(mirror, "--fence")
        assert code == 1 and "can't be fenced" in text, text
        code, text, promoted = promote(mirror, "--force")
        assert code == 0 and promoted["BrokenFiles"] == ["/d/lost"] and promoted["LostVersions"] is None, text
        here = mirror.at.mount(PEER)
        assert read(f"{here}/kept") == b"kept"
        os.unlink(f"{here}/d/lost")
        write(f"{here}/new", b"new")
        mirror.at.umount(here)
        mirror.at.judge()
    finally:
        if mirror.process.poll() is None:
            mirror.kill()


def claims(world):
    for source, engine, kind in (("sqlite", "redis", Own), ("redis", "sqlite", Mirror)):
        volume = world.volume(source, store="file")
        mirror = kind(world, volume, engine)
        yield f"{source} to {engine}: a fenced source is left and loses nothing, and rejoins", lambda v=volume, e=engine, m=mirror: fenced(world, v, e, m)
    yield "a forced promotion gives out no number twice", lambda v=world.volume("redis", store="file"): forced(world, v)
    yield "a mirror outlives its source, and names the files that it lost", lambda v=world.volume("sqlite", "--trash-days", "0", store="file"): burned(world, v)
