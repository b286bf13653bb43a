"""`destroy` asks, refuses where the peer's refuses, and leaves neither objects nor records; its neighbours stay."""
import os, re, subprocess
from volume import ENGINES, OURS, PEER, read, run, write


def uuid_of(volume):
    return re.search(r'"UUID": "([^"]+)"', run(OURS, "status", volume.meta, check=True)[1])[1]


def asked(volume, answer, *options):
    r = subprocess.run([OURS, "destroy", volume.meta, uuid_of(volume), *options], input=answer, capture_output=True, text=True, timeout=60)
    return r.returncode, r.stdout + r.stderr


def goes(volume, neighbour):
    for each in (volume, neighbour):
        where = each.mount(PEER)
        os.mkdir(f"{where}/d")
        for number in range(30):
            write(f"{where}/d/f{number}", b"x" * 5000, sync=False)
        if each is volume:
            code, text = asked(volume, "y\n", "--yes")
            assert code == 1 and "1 sessions are active" in text and where in text, text
        each.umount(where)
    code, text = run(OURS, "destroy", volume.meta, "00000000-0000-0000-0000-000000000000", "--yes")
    assert code == 1 and f'!= expected "{uuid_of(volume)}"' in text, text
    code, text = asked(volume, "n\n")
    assert code == 1 and "Aborted" in text and "Proceed anyway? [y/N]" in text and f"volume name: {volume.name}" in text, text
    where = volume.mount(OURS)
    assert read(f"{where}/d/f7") == b"x" * 5000
    volume.umount(where)
    code, text = asked(volume, "y\n")
    assert code == 0 and re.search(r"Deleted 31 objects", text) and "has been destroyed" in text, text
    assert not volume.objects() and not os.path.exists(f"{volume.folder}/data/{volume.name}/juicefs_uuid")
    assert not os.path.exists(f"{volume.folder}/data/{volume.name}"), "no empty folders"
    if volume.engine == "sqlite":
        assert volume.sql("SELECT name FROM sqlite_master WHERE name LIKE 'jfs%'") == []
    else:
        assert volume.redis("DBSIZE") == b"0\n"
    for binary in (OURS, PEER):
        code, text = run(binary, "status", volume.meta)
        assert code == 1 and "not formatted" in text, text
        where = neighbour.mount(binary)
        assert read(f"{where}/d/f7") == b"x" * 5000
        neighbour.umount(where)
    neighbour.judge()
    run(PEER, "format", *volume.store, volume.meta, volume.name, check=True)
    where = volume.mount(OURS)
    assert not [name for name in os.listdir(where) if not name.startswith(".")]
    write(f"{where}/new", b"x")
    volume.umount(where)
    volume.judge()


def claims(world):
    for engine in ENGINES:
        volume, neighbour = (world.volume(engine, store="file") for _ in range(2))
        yield f"{engine}: destroy leaves nothing of a volume and all of others", lambda v=volume, n=neighbour: goes(v, n)
