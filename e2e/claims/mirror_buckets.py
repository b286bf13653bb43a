"""A mirror with a bucket of its own: blocks follow byte for byte, what the source deletes goes, what is not copied yet is read
from the source's bucket or (data first) not shown; a follower that is killed goes on; nobody writes to the source's bucket."""
import os, random, signal, threading, time
from mirror import Mirror, same_bytes, storm
from volume import OURS, PEER, errno_of, read, run, until, write


class Own(Mirror):
    """With a bucket in the folder of the mirror."""

    def create(self, *options):
        self.bucket = f"{self.at.folder}/near/"
        run(OURS, "config", self.source.meta, "--changelog", "--yes", check=True)
        run(OURS, "mirror", "create", self.source.meta, self.at.meta, "--name", f"near{self.at.number}", "--storage", "file", "--bucket", self.bucket, *options, check=True)

    def caught_up(self):
        status = self.status()
        data = status["Data"]
        return status["State"] == "following" and status["VersionsBehind"] == 0 and data["VersionsBehind"] == 0 and data["PendingBlocks"] == 0

    def blocks(self):
        return blocks_below(os.path.join(self.bucket, self.source.name))


def blocks_below(top):
    return {os.path.relpath(os.path.join(at, name), top): read(os.path.join(at, name)) for at, _, names in os.walk(os.path.join(top, "chunks")) for name in names if not name.startswith(".")}


def far_blocks(volume):
    return blocks_below(os.path.join(volume.folder, "data", volume.name))


def copied(world, volume, engine, *options):
    where = volume.mount(PEER)
    for name in "abc":
        os.mkdir(f"{where}/{name}")
    for number in range(150):
        write(f"{where}/a/before{number}", os.urandom(3000), sync=False)
    write(f"{where}/b/large", os.urandom(9 << 20))
    volume.umount(where)
    mirror = Own(world, volume, engine)
    mirror.create(*options)
    where = volume.mount(PEER, "--heartbeat", "2")
    mirror.follow()
    try:
        storming = threading.Thread(target=storm, args=(1, where, 200))
        storming.start()
        while storming.is_alive():
            time.sleep(random.uniform(0.2, 0.8))
            mirror.kill(), mirror.follow()
        storming.join()
        for number in range(0, 150, 3):
            os.unlink(f"{where}/a/before{number}")
        until(f"the mirror has caught up: {mirror.tail()}", mirror.caught_up, 30)
        near = mirror.at.mount(OURS, "--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0")
        same_bytes(where, near)
        # Trash off: the peer deletes blocks in the background, and tells the log.
        until("the buckets hold the same", lambda: mirror.caught_up() and mirror.blocks() == far_blocks(volume), 30)
        code, text = run(OURS, "mirror", "check", mirror.at.meta, "--blocks", "500")
        assert code == 0 and "blocks were compared" in text, text
        key = next(key for key, body in mirror.blocks().items() if key.endswith("_0_4194304"))
        with open(os.path.join(mirror.bucket, volume.name, key), "r+b") as file:
            file.write(b"other")
        code, text = run(OURS, "mirror", "check", mirror.at.meta, "--blocks", "500")
        assert code == 1 and "/b/large" in text and "bytes are not the same" in text, text
        mirror.at.umount(near)
    finally:
        mirror.kill()
        volume.umount(where)


def late(world, volume, is_data_first):
    """The source's bucket does not let blocks go: their files are read from there, or come later."""
    mirror = Own(world, volume, "sqlite")
    mirror.create(*(["--data-first"] if is_data_first else []))
    where = volume.mount(OURS)
    write(f"{where}/first", b"first")
    mirror.follow()
    try:
        until(f"the mirror follows: {mirror.tail()}", mirror.caught_up, 30)
        near = mirror.at.mount(OURS, "--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0")
        before = set(os.listdir(f"{volume.folder}/data/{volume.name}/chunks/0/0"))
        mirror.process.send_signal(signal.SIGSTOP)
        write(f"{where}/second", os.urandom(5000))
        new = set(os.listdir(f"{volume.folder}/data/{volume.name}/chunks/0/0")) - before
        assert len(new) == 1, new
        block = os.path.join(volume.folder, "data", volume.name, "chunks/0/0", new.pop())
        os.rename(block, block + ".away")
        mirror.process.send_signal(signal.SIGCONT)
        if is_data_first:
            time.sleep(1)  # a moment in which it must not appear
            assert not os.path.exists(f"{near}/second"), "shown without its bytes"
            os.rename(block + ".away", block)
            until("it is shown", lambda: os.path.exists(f"{near}/second"))
            os.rename(block, block + ".away")
            assert read(f"{near}/second") == read(block + ".away"), "shown before its bytes are near"
        else:
            until("it is shown", lambda: os.path.exists(f"{near}/second"))
            until("the lack is told", lambda: mirror.status()["Data"]["LackingSlices"] == 1)
            os.rename(block + ".away", block)
            assert read(f"{near}/second") == read(block), "not read from the source's bucket"
            until("the block is copied after all", lambda: mirror.status()["Data"]["LackingSlices"] == 0, 20)
            os.rename(block, block + ".away")
        assert errno_of(write, f"{near}/x", b"") == "EROFS"
        mirror.at.umount(near)
        os.rename(block + ".away", block)
    finally:
        mirror.kill()
        volume.umount(where)


def refused(world, volume):
    mirror = Mirror(world, volume, "sqlite")
    run(OURS, "config", volume.meta, "--changelog", "--yes", check=True)
    create = (OURS, "mirror", "create", volume.meta, mirror.at.meta, "--name", "near", "--storage", "file", "--bucket")
    code, text = run(*create, f"{volume.folder}/data")
    assert code == 1 and "own bucket" in text, text
    os.makedirs(f"{mirror.at.folder}/taken/{volume.name}")
    write(f"{mirror.at.folder}/taken/{volume.name}/juicefs_uuid", b"somebody else's")
    code, text = run(*create, f"{mirror.at.folder}/taken")
    assert code == 1 and "another volume" in text, text


def claims(world):
    for source, engine, options in (("sqlite", "sqlite", ()), ("redis", "redis", ("--data-first",))):
        volume = world.volume(source, "--trash-days", "0", store="file")
        kind = "data first" if options else "names first"
        yield f"{source} to {engine}, {kind}: the bucket of a mirror follows, also killed", lambda v=volume, e=engine, o=options: copied(world, v, e, *o)
    yield "what is not copied yet is read from the source's bucket", lambda v=world.volume("sqlite", store="file"): late(world, v, False)
    yield "data first: what is not copied yet is not shown", lambda v=world.volume("sqlite", store="file"): late(world, v, True)
    yield "a mirror's bucket is neither the source's nor somebody else's", lambda v=world.volume("sqlite", store="file"): refused(world, v)
