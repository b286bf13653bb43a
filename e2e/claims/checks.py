"""`fsck` of either client on volumes that are broken by hand: the same warnings and exit codes, and repairs that leave the same
records."""
import glob, os, re, struct
from volume import ENGINES, OURS, PEER, run, write

DIRECTORIES = ("", "a", "a/b", "a/b/c", "d", "e")


def tree(volume):
    where = volume.mount(OURS)
    for name in DIRECTORIES[1:]:
        os.mkdir(f"{where}/{name}")
    for number in range(3):
        write(f"{where}/a/f{number}", os.urandom(1001 + number))
    os.link(f"{where}/a/f1", f"{where}/d/hard"), os.symlink("x", f"{where}/a/link"), write(f"{where}/a/b/small", b"hi")
    inos = {name: os.lstat(f"{where}/{name}").st_ino for name in (*DIRECTORIES, "a/f0", "a/f1", "a/f2", "a/b/small")}
    os.unlink(f"{where}/a/f2")
    volume.umount(where)
    return inos


def set_nlink(volume, ino, nlink):
    if volume.engine == "sqlite":
        volume.sql(f"UPDATE jfs_node SET nlink = {nlink} WHERE inode = {ino}")
    else:
        volume.redis("SETRANGE", f"i{ino}", "47", data=struct.pack(">I", nlink))


def set_stat(volume, ino, inodes):
    """Of a directory; None takes it away."""
    if volume.engine == "sqlite":
        volume.sql(f"DELETE FROM jfs_dir_stats WHERE inode = {ino}" if inodes is None else f"UPDATE jfs_dir_stats SET used_inodes = {inodes} WHERE inode = {ino}")
    elif inodes is None:
        for key in ("dirUsedSpace", "dirUsedInodes", "dirDataLength"):
            volume.redis("HDEL", key, str(ino))
    else:
        volume.redis("HSET", "dirUsedInodes", str(ino), str(inodes))


def drop_node(volume, ino):
    volume.sql(f"DELETE FROM jfs_node WHERE inode = {ino}") if volume.engine == "sqlite" else volume.redis("DEL", f"i{ino}")


def set_usage(volume, space):
    if volume.engine == "sqlite":
        volume.sql(f"UPDATE jfs_counter SET value = {space} WHERE name = 'usedSpace'")
    else:
        volume.redis("SET", "usedSpace", str(space))


def kept(volume, inos):
    """Nodes and statistics of the directories, and the volume's counters."""
    if volume.engine == "sqlite":
        return [*map(sorted, (volume.sql("SELECT * FROM jfs_node WHERE type = 2"), volume.sql("SELECT * FROM jfs_dir_stats"), volume.sql("SELECT * FROM jfs_counter WHERE name IN ('usedSpace', 'totalInodes')")))]
    nodes = [volume.redis("--no-raw", "GET", f"i{inos[name]}") for name in DIRECTORIES]
    return nodes + [sorted(volume.redis("HGETALL", key).split()) for key in ("dirUsedSpace", "dirUsedInodes", "dirDataLength")] + [volume.redis("MGET", "usedSpace", "totalInodes")]


def fsck(binary, volume, *words):
    """Exit code, and what it warns of in any order; a store says in its own words that a block is not there."""
    code, text = run(binary, "fsck", volume.meta, *words)
    assert "panic" not in text, text
    lines = {re.sub(r"(for file \S+): .*", r"\1", line) for line in re.findall(r"<(?:WARNING|ERROR)>: (.*?)(?: \[\w+(?:@\S+)?\])?$", text, re.M)}
    return code, {line for line in lines if not re.match("Set storage tier|no attribute for inode|The latency|AOF|maxmemory", line)}, text


def same(volume, *words):
    theirs, ours = fsck(PEER, volume, *words), fsck(OURS, volume, *words)
    assert ours[:2] == theirs[:2], f"{words}: {ours[:2]}\ninstead of {theirs[:2]}"
    return ours


def directories(volume):
    inos = tree(volume)
    whole, all_again = ("--path", "/", "-r"), ("--path", "/", "--recursive", "--repair", "--sync-dir-stat")
    assert same(volume, *whole)[:2] == (0, set()) and same(volume, *whole, "--sync-dir-stat")[:2] == (0, set())
    whole_ones = kept(volume, inos)

    def broken():
        for name in ("", "a", "a/b/c"):
            set_nlink(volume, inos[name], 9)
        set_stat(volume, inos["a/b"], 7), set_stat(volume, inos["d"], -2), set_stat(volume, inos["a/b/c"], None), set_usage(volume, 77)

    broken()
    for words, count in ((whole, 10), (("--path", "/"), 2), (("--path", "/a"), 2), (("--path", "/a/b", "--sync-dir-stat"), 2), (("--path", "/d"), 2), (("--path", "/e", "-r"), 0),
                         (("--path", "/a/f0"), 0), ((), 0)):
        code, lines, text = same(volume, *words)
        assert len(lines) == count and code == (count > 0), text
    code, lines, text = fsck(OURS, volume, *whole, "--sync-dir-stat")  # the peer panics where statistics are missing
    assert code == 1 and len(lines) == 13, text
    assert fsck(PEER, volume, "--path", "/a/b/c", "--repair")[0] == 0 and fsck(OURS, volume, "--path", "/a/b/c", "--sync-dir-stat")[:2] == (0, set())
    for who in (OURS, PEER):
        broken()
        assert fsck(who, volume, *whole, "--repair")[0] == 0 and fsck(PEER if who == OURS else OURS, volume, *whole)[:2] == (0, set())
        assert fsck(who, volume, *all_again)[0] == 0
        assert kept(volume, inos) == whole_ones, f"after {who}: {kept(volume, inos)}\ninstead of {whole_ones}"
    for words, said in ((("--path", "/nosuch"), "no such file"), (("--path", "a"), "absolute path"), (("--repair",), "--path"), (("--path", "/", "--repair-dir-mode", "0999"), "repair-dir-mode")):
        for who in (PEER, OURS):
            code, _, text = fsck(who, volume, *words)
            assert code == 1 and said in text.lower(), text
    volume.judge()


def missing_nodes(volume):
    inos = tree(volume)
    whole, top = ("--path", "/", "-r"), ("--path", "/a/b", "--repair", "--repair-dir-mode", "0711")
    drop_node(volume, inos["a/b"])
    look = same if volume.engine == "redis" else lambda volume, *words: fsck(OURS, volume, *words)  # the peer passes over them on SQL
    code, lines, text = look(volume, *whole)
    assert code == 1 and "attribute of /a/b is missing" in lines and len(lines) == 2, text
    code, lines, text = look(volume, "--path", "/a/b/c")
    assert code == 0 and len(lines) == 1, text
    assert fsck(OURS, volume, *top)[0] == 0 and fsck(PEER, volume, *whole, "--sync-dir-stat")[:2] == (0, set())
    where = volume.mount(PEER)
    there = os.stat(f"{where}/a/b")
    assert (there.st_mode & 0o7777, there.st_nlink, there.st_uid) == (0o711, 3, 0) and os.path.getsize(f"{where}/a/b/small") == 2, there
    volume.umount(where)
    # A file can't be made anew; the peer says so and ends well.
    drop_node(volume, inos["a/b/small"])
    code, _, text = fsck(OURS, volume, *whole, "--repair")
    assert code == 1 and "/a/b/small" in text, text


def lost_blocks(volume):
    inos = tree(volume)
    blocks = sorted(glob.glob(f"{volume.folder}/data/{volume.name}/chunks/*/*/*_0_100?"))
    assert len(blocks) == 3, blocks
    for block in blocks:
        os.rename(block, f"{volume.folder}/{os.path.basename(block)}")
    for words, count in (((), 3), (("--path", "/", "-r"), 2), (("--path", "/a/f0"), 1), (("--path", "/a"), 0)):
        wanted = {f"{line}" for line in fsck(PEER, volume, *words)[2].splitlines() if re.match(r" +\d+: /", line)}
        code, lines, text = fsck(OURS, volume, *words)
        found = {line for line in text.splitlines() if re.match(r" +\d+: /", line)}
        of_one_name = lambda rows: {re.sub(" .fsck.*", "", row).replace("/d/hard", "/a/f1") for row in rows}
        assert code == (count > 0) and len(found) == len(lines) == count and of_one_name(found) == of_one_name(wanted), f"{text}\ninstead of {wanted}"
        assert f"file://{volume.folder}/data" in text and (not count or f"{count} objects are lost" in text), text
    for block in blocks:
        os.rename(f"{volume.folder}/{os.path.basename(block)}", block)
    assert inos and same(volume)[:2] == (0, set())
    # An object that lost its end; the peer looks at names only.
    os.truncate(blocks[0], 500)
    for words in ((), ("--path", "/a/f0")):
        code, lines, text = fsck(OURS, volume, *words)
        assert code == 1 and any(f"for file /a/f0 is not whole" in line for line in lines), text


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine, store="file")
        yield f"{engine}: fsck finds and repairs the directories that the peer's does", lambda v=volume: directories(v)
        volume = world.volume(engine, store="file")
        yield f"{engine}: fsck makes a directory's node anew", lambda v=volume: missing_nodes(v)
    volume = world.volume("sqlite", store="file")
    yield "fsck names the files of lost blocks", lambda v=volume: lost_blocks(v)
