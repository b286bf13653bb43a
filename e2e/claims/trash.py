"""`restore` of either client brings back what was removed through either, into the trash's own trees or to where it was."""
import os, shutil
from volume import ENGINES, OURS, PEER, read, run, write


def tree(where):
    os.makedirs(f"{where}/top/a/b"), os.makedirs(f"{where}/kept")
    for path in ("top/x", "top/a/y", "top/a/b/z", "kept/f", "kept/g"):
        write(f"{where}/{path}", path.encode())
    os.link(f"{where}/top/x", f"{where}/hard")


def paths(top):
    return sorted(os.path.relpath(os.path.join(at, name), top) for at, folders, names in os.walk(top) for name in folders + names)


def comes_back(volume):
    for remover, rebuilder, restorer in ((OURS, OURS, PEER), (PEER, PEER, OURS), (OURS, PEER, OURS)):
        where = volume.mount(remover)
        tree(where)
        before = set(os.listdir(f"{where}/.trash"))
        shutil.rmtree(f"{where}/top"), os.unlink(f"{where}/kept/f"), os.unlink(f"{where}/kept/g")
        write(f"{where}/kept/g", b"another")
        hours = os.listdir(f"{where}/.trash")
        assert rebuilder == PEER or run(rebuilder, "restore", volume.meta, *hours)[0] == 0
        rebuilder == PEER and run(rebuilder, "restore", volume.meta, *hours, check=True)
        trees = [f"{where}/.trash/{hour}/{name}" for hour in hours for name in os.listdir(f"{where}/.trash/{hour}") if name.endswith("-top")]
        # Removed within one hour, the tree is whole again.
        assert len(hours) > max(1, len(before)) or paths(trees[0]) == ["a", "a/b", "a/b/z", "a/y", "x"], paths(trees[0])
        code, text = run(restorer, "restore", "--put-back", volume.meta, *hours)
        assert "restore" in text and "kept" not in text and "target already exists" in text, text
        assert code == (1 if restorer == OURS else 0), text
        assert paths(f"{where}/top") == ["a", "a/b", "a/b/z", "a/y", "x"], paths(f"{where}/top")
        for path in ("top/x", "top/a/y", "top/a/b/z", "kept/f"):
            assert read(f"{where}/{path}") == path.encode(), path
        assert read(f"{where}/kept/g") == b"another" and os.stat(f"{where}/hard").st_nlink == 2
        left = [name for hour in hours for name in os.listdir(f"{where}/.trash/{hour}")]
        assert len(left) == 1 and left[0].endswith("-g"), left
        for hour in hours:
            for name in os.listdir(f"{where}/.trash/{hour}"):
                os.unlink(f"{where}/.trash/{hour}/{name}")
        for path in ("top", "kept"):
            run(OURS, "rmr", "--skip-trash", f"{where}/{path}", check=True)
        os.unlink(f"{where}/hard")
        for hour in hours:
            for name in os.listdir(f"{where}/.trash/{hour}"):
                os.unlink(f"{where}/.trash/{hour}/{name}")
        volume.umount(where)
        # On etcd the peer's `restore` leaves the hour's statistics as they were, also alone.
        volume.judge(peer_stormed=volume.engine == "etcd")
    for binary in (OURS, PEER):
        code, text = run(binary, "restore", volume.meta, "2001-01-01-01")
        assert "no such file or directory" in text and code == (1 if binary == OURS else 0), text


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine, "--trash-days", "1", store="file")
        yield f"{engine}: restore of either brings back what either removed", lambda v=volume: comes_back(v)
