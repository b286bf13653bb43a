"""What a volume's owner is told when its bucket becomes another one, and whose the internal files of a mount are."""
import os, shutil, subprocess
from volume import ENGINES, OURS, read, run, until, write


def another_bucket(volume):
    first, second, third = (f"{volume.folder}/{name}/" for name in ("data", "second", "third"))
    settings = lambda bucket: ("format", volume.meta, volume.name, "--bucket", bucket)
    assert "stays in" not in run(OURS, *settings(second), check=True)[1] and "stays in" not in run(OURS, *settings(first), check=True)[1], "nothing is in it yet"
    where = volume.mount(OURS)
    write(f"{where}/f", b"x" * 5000)
    volume.umount(where)
    shutil.rmtree(second)
    text = run(OURS, *settings(second), check=True)[1]
    assert f"1 files and directories of {volume.name} stays in {first}" in text and f"copied to {second}" in text and f"--bucket {first}" in text, text
    assert "stays in" not in run(OURS, *settings(first), check=True)[1], "back to where it is"
    os.mkdir(third)
    text = run(OURS, "config", volume.meta, "--bucket", third, "--yes", check=True)[1]
    assert f"stays in {first}" in text and f"copied to {third}" in text, text
    # As it says.
    shutil.copytree(f"{first}{volume.name}", f"{third}{volume.name}")
    where = volume.mount(OURS)
    assert read(f"{where}/f") == b"x" * 5000
    volume.umount(where)


def a_users_own(volume):
    """Of a mount that a user made: it is told what is in `.config`, and root is not."""
    own = f"{volume.folder}/own"
    os.mkdir(own), os.mkdir(f"{own}/mnt")
    os.chmod(volume.folder, 0o755), os.chmod(os.path.dirname(volume.folder), 0o755)
    command = shutil.copy(OURS, f"{own}/juicefs")
    for path in (own, f"{own}/mnt"):
        os.chown(path, 1000, 1000)
    user = lambda *words: subprocess.run(words, user=1000, group=1000, extra_groups=[], cwd="/", env={**os.environ, "HOME": own}, capture_output=True, text=True, timeout=60)
    made = user(command, "format", f"sqlite3://{own}/meta.db", volume.name, "--bucket", f"{own}/data")
    assert made.returncode == 0, made
    refused = user(command, "mount", "-d", f"sqlite3://{own}/meta.db", "/nosuch/mnt", "--log", f"{own}/log")
    assert refused.returncode == 1 and "Permission denied" in refused.stderr and "directory of your own" in refused.stderr, refused
    # As udev leaves it; containers often have it otherwise.
    os.chmod("/dev/fuse", 0o666)
    mounted = user(command, "mount", "-d", f"sqlite3://{own}/meta.db", f"{own}/mnt", "--log", f"{own}/log", "--cache-dir", f"{own}/cache")
    assert mounted.returncode == 0, mounted
    for name in (".config", ".stats", ".accesslog"):
        there = user("stat", "-c", "%u:%g", f"{own}/mnt/{name}").stdout.strip()
        assert there == "1000:1000", f"{name}: {there}"
    assert '"Pid"' in user("cat", f"{own}/mnt/.config").stdout
    assert user(command, "umount", f"{own}/mnt").returncode == 0
    until("it is gone", lambda: not os.path.ismount(f"{own}/mnt"))


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine, store="file")
        yield f"{engine}: another bucket is told what it means", lambda v=volume: another_bucket(v)
    volume = world.volume("sqlite", store="file")
    yield "internal files belong to who mounts", lambda v=volume: a_users_own(v)
