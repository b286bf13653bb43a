"""A volume in a database server: made alike by either client and taken by the other, every command on it, a table prefix
of its own, and no password in sight."""
import json, os, subprocess
from volume import OURS, PEER, SERVERS, read, run, until, write


def made_alike(server, ours, theirs):
    """The tables are the peer's, and each takes what the other made."""
    different = [(a, b) for a, b in zip(server.tables(ours.name), server.tables(theirs.name)) if a != b]
    assert not different and len(server.tables(ours.name)) == len(server.tables(theirs.name)), different[:3]
    for volume, other in ((ours, PEER), (theirs, OURS)):
        run(other, "format", *volume.store, volume.meta, volume.name, check=True)
        where = volume.mount(other)
        write(os.path.join(where, "file"), b"of the other")
        volume.umount(where)
        where = volume.mount(OURS if other == PEER else PEER)
        assert read(os.path.join(where, "file")) == b"of the other"
        volume.umount(where)
        volume.judge()
    # Nobody finds anything to alter in what the other has used.
    assert server.tables(ours.name) == server.tables(theirs.name)


def every_command(server, volume, copy):
    where = volume.mount(OURS)
    for n in range(30):
        write(os.path.join(where, f"f{n}"), bytes([n]) * 5000, sync=False)
    os.rename(os.path.join(where, "f1"), os.path.join(where, "f0"))
    assert "inode" in run(OURS, "info", os.path.join(where, "f2"), check=True)[1]
    until("the session is there", lambda: '"Sid"' in run(PEER, "status", volume.meta, check=True)[1])
    volume.umount(where)
    run(OURS, "config", volume.meta, "--trash-days", "3", "--yes", check=True)
    assert json.loads(subprocess.run([OURS, "status", volume.meta], capture_output=True, check=True).stdout)["Setting"]["TrashDays"] == 3
    assert " 0 leaked" in run(OURS, "gc", volume.meta, check=True)[1]
    volume.judge()
    # What one dumps the other loads, and the same is there again.
    dumps = [os.path.join(volume.folder, name) for name in ("ours.json", "peer.json", "again.json")]
    run(OURS, "dump", volume.meta, dumps[0], check=True), run(PEER, "dump", volume.meta, dumps[1], check=True)
    assert read(dumps[0]) == read(dumps[1])
    run(OURS, "load", copy, dumps[1], check=True), run(OURS, "dump", copy, dumps[2], check=True)
    assert [json.loads(read(at))["FSTree"] for at in dumps[1:]] == [json.loads(read(dumps[1]))["FSTree"]] * 2
    # Numbers that a load brought are not given out again.
    run(PEER, "fsck", copy, check=True), run(*os.environ["AUDIT"].split(), copy, check=True)
    uuid = json.loads(subprocess.run([OURS, "status", volume.meta], capture_output=True, check=True).stdout)["Setting"]["UUID"]
    run(OURS, "destroy", volume.meta, uuid, "--yes", check=True)
    assert not [table for table, _ in server.rows(volume.name)] and not os.path.exists(os.path.join(volume.folder, "data", volume.name, "juicefs_uuid"))
    code, text = run(OURS, "status", volume.meta)
    assert code and "not formatted" in text, text


def prefixed(volume, address):
    """A second volume in the same database, beside the first; the password shows nowhere."""
    store = os.path.join(volume.folder, "second")
    run(OURS, "format", "--storage", "file", "--bucket", store, address, "second", check=True)
    run(PEER, "status", address, check=True)
    code, text = run(OURS, "mount", "-d", "--no-usage-report", "--log", f"{volume.folder}/second.log", address, f"{volume.folder}/second.mnt")
    assert code == 0, text
    try:
        write(f"{volume.folder}/second.mnt/file", b"beside")
        seen = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout
        said = text + read(f"{volume.folder}/second.log").decode(errors="replace")
        assert "sekret" not in said and not [line for line in seen.splitlines() if "sekret" in line and OURS in line], said
    finally:
        run("umount", f"{volume.folder}/second.mnt", check=True)
    run(PEER, "fsck", volume.meta, check=True), run(PEER, "fsck", address, check=True)


def claims(world):
    for engine in SERVERS:
        server = world.database(engine)
        pair = [world.volume(engine, formatter=who) for who in (OURS, PEER)]
        yield f"{engine}: a volume is made alike by either client", lambda s=server, p=pair: made_alike(s, *p)
        volume, copy = world.volume(engine, formatter=OURS), server.database()
        yield f"{engine}: every command takes it", lambda s=server, v=volume, c=copy: every_command(s, v, c)
        volume = world.volume(engine)
        os.mkdir(os.path.join(volume.folder, "second.mnt"))
        address = server.url(volume.name, "table_prefix=second")
        yield f"{engine}: another volume beside the first", lambda v=volume, a=address: prefixed(v, a)
