"""`dump` and `load`: both clients write the same documents byte for byte, each loads what the other wrote, into either
engine, and both go on with the loaded volume. Memory does not grow with the volume."""
import gzip, json, os, re, resource, subprocess, sys
from volume import ENGINES, OURS, PEER, Volume, read, run, until, write


class Copy(Volume):
    """An empty database for the copy of another volume, whose objects it shares."""

    def __init__(self, world, engine):
        world.used += 1
        self.world, self.engine, self.mounts, self.number = world, engine, 0, world.used
        self.folder = os.path.join(world.folder, f"v{world.used}")
        os.mkdir(self.folder)
        self.meta = f"sqlite3://{self.folder}/meta.db" if engine == "sqlite" else world.redis.url(self.number)


def other(engine):
    return ENGINES[1 - ENGINES.index(engine)]


def fill(where):
    """Everything that a document has a member for, made through the peer's mount."""
    top = os.fsencode(where)
    for name in (b"dir/sub", b'we ird%"<>&\\name', b"empty/a/b/c"):
        os.makedirs(os.path.join(top, name))
    write(f"{where}/dir/f", b"hi\n"), os.link(f"{where}/dir/f", f"{where}/dir/g"), os.link(f"{where}/dir/f", f"{where}/hard")
    os.symlink("tar get%", f"{where}/sym"), os.mkfifo(f"{where}/ff")
    os.mknod(f"{where}/cdev", 0o20644, os.makedev(5, 1))
    write(f"{where}/big", b"abc"), write(f"{where}/big", b"x", offset=1)
    os.truncate(f"{where}/big", 700 << 20), write(f"{where}/big", b"y", offset=500 << 20)
    for name in (b"bad\xffname", "é".encode(), b"a b", b"a!b", b"a%b"):
        write(os.path.join(top, name), b"")
    for number in range(300):
        write(f"{where}/dir/n{number}", b"%d" % number, sync=False)
    with open(f"{where}/big") as source, open(f"{where}/shared", "w") as target:
        os.copy_file_range(source.fileno(), target.fileno(), 2 << 20)
    write(f"{where}/gone", b"gone"), os.link(f"{where}/dir/f", f"{where}/gone too"), os.unlink(f"{where}/gone"), os.unlink(f"{where}/gone too")
    os.chown(f"{where}/empty", 5, 6), os.chmod(f"{where}/empty", 0o3751), os.utime(f"{where}/empty", (1, 2))
    os.setxattr(f"{where}/dir/f", "user.k", b'v a%l"\\<\xff\0'), os.setxattr(f"{where}/dir", "user.b", b"x"), os.setxattr(f"{where}/dir", "user.a", "é<".encode())
    subprocess.run(["setfacl", "-m", "u:1001:rwx", f"{where}/dir/f"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "g:1002:rx", f"{where}/dir"], check=True)


def dumped(binary, meta, path, *options):
    run(binary, "dump", meta, path, *options, check=True)
    return read(path)


def segments(document):
    """Rows of a binary document: kind and message of each segment, as sets are."""
    at, found = 0, []
    while (kind := int.from_bytes(document[at:at + 4], "big")) != 0x747083:
        end = at + 12 + int.from_bytes(document[at + 4:at + 12], "big")
        found.append((kind, document[at + 12:end]))
        at = end
    return found


def tree(document):
    """Without what a load counts anew."""
    loaded = json.loads(document)
    counters = loaded.pop("Counters")
    return counters, json.dumps(loaded)


def both_ways(volume, copies):
    theirs = volume.mount(PEER, "--enable-xattr")
    fill(theirs)
    run(PEER, "quota", "set", volume.meta, "--path", "/dir", "--capacity", "1", "--inodes", "100000", check=True)
    run(PEER, "quota", "set", volume.meta, "--uid", "5", "--capacity", "1", check=True)
    volume.umount(theirs)
    # What the peer counted when the quota was set need not be what is there.
    run(PEER, "quota", "check", volume.meta, "--path", "/dir", "--repair", check=True)

    at = volume.folder
    for options in ([], ["--skip-trash"], ["--subdir", "/dir"], ["--keep-secret-key", "--threads", "3", "--fast"]):
        ours, peers = dumped(OURS, volume.meta, f"{at}/ours.json", *options), dumped(PEER, volume.meta, f"{at}/peers.json", *options)
        assert ours == peers, f"{options}: documents differ, see diff:\n" + run("diff", f"{at}/ours.json", f"{at}/peers.json")[1][:1000]
    assert gzip.decompress(dumped(OURS, volume.meta, f"{at}/ours.json.gz", "--keep-secret-key")) == peers
    assert subprocess.run([OURS, "dump", volume.meta, "--keep-secret-key"], capture_output=True, check=True).stdout == peers
    dumped(OURS, volume.meta, f"{at}/ours.json.zstd", "--keep-secret-key")
    dumped(PEER, volume.meta, f"{at}/peers.json.zstd", "--keep-secret-key")
    ours = segments(dumped(OURS, volume.meta, f"{at}/ours.bin", "--binary", "--keep-secret-key"))
    peers_bin = segments(dumped(PEER, volume.meta, f"{at}/peers.bin", "--binary", "--keep-secret-key"))
    assert ours[0] == peers_bin[0], "the setting"
    assert sum(len(body) for _, body in ours[2:]) == sum(len(body) for _, body in peers_bin[2:]), "rows of the same length"
    stat = [run(binary, "load", f"{at}/peers.bin", "--binary", "--stat", "--offset", "-1")[1] for binary in (OURS, PEER)]
    assert stat[0].splitlines() == [line for line in stat[1].splitlines() if "<INFO>" not in line], stat

    counters, wanted = tree(peers)
    copies = iter(copies)
    for path in ("peers.json", "peers.json.zstd", "peers.bin", "ours.json", "ours.json.zstd", "ours.bin"):
        loader = OURS if path.startswith("peers") else PEER
        for copy in (next(copies), next(copies)):
            run(loader, "load", copy.meta, f"{at}/{path}", *(["--binary"] if path.endswith("bin") else []), check=True)
            again = dumped(PEER, copy.meta, f"{at}/again.json", "--keep-secret-key")
            assert again == dumped(OURS, copy.meta, f"{at}/again.ours.json", "--keep-secret-key"), path
            numbers, got = tree(again)
            assert got == wanted, f"{path} into {copy.engine}: {run('diff', f'{at}/again.json', f'{at}/peers.json')[1][:1500]}"
            if loader == OURS:  # the peer begins numbers anew after a JSON document, at what the tree has
                assert numbers == counters, f"{path}: {numbers} of {counters}"
                goes_on(copy)


def goes_on(copy):
    """A loaded volume is a volume: what was there can be read, and either client adds to it."""
    copy.judge()
    # The peer counts for no quota before its first heartbeat.
    run(PEER, "quota", "delete", copy.meta, "--path", "/dir", check=True)
    theirs = copy.mount(PEER, "--enable-xattr")
    assert read(f"{theirs}/dir/n7") == b"7" and read(f"{theirs}/hard") == b"hi\n" and os.stat(f"{theirs}/hard").st_nlink == 4, "three names and one in the trash"
    write(f"{theirs}/after", b"theirs"), os.unlink(f"{theirs}/dir/g"), os.unlink(f"{theirs}/shared")
    until("the peer's file is there", lambda: read(f"{theirs}/after") == b"theirs")
    copy.umount(theirs)
    copy.judge()


def refusals(volume, empty):
    at = volume.folder
    document = dumped(OURS, volume.meta, f"{at}/dump.json")

    def refused(what, *command):
        code, text = run(OURS, *command)
        assert code == 1 and re.search(what, text) and "panicked" not in text, f"{command}: {code} {text[-500:]}"

    refused("not empty|holds a volume already", "load", volume.meta, f"{at}/dump.json")
    refused("no such file|No such file", "load", empty.meta, f"{at}/none.json")
    refused("/nowhere: no such directory", "dump", volume.meta, f"{at}/x.json", "--subdir", "/nowhere")
    assert not os.path.exists(f"{at}/x.json") and not os.path.exists(f"{at}/x.json.part"), "a dump that failed leaves no file"
    refused("not formatted|no database", "dump", empty.meta)
    write(f"{at}/bad.json", document.replace(b'"type":"directory"', b'"type":"door"', 1))
    refused(r'"door".*FSTree.attr', "load", empty.meta, f"{at}/bad.json")
    big_document(f"{at}/cut.json", 20_000)
    os.truncate(f"{at}/cut.json", os.path.getsize(f"{at}/cut.json") - 3)
    refused("line", "load", empty.meta, f"{at}/cut.json")
    for binary in (OURS, PEER):
        assert "not formatted" in run(binary, "status", empty.meta)[1], "what is loaded in part is no volume"
    refused("--binary", "load", empty.meta, f"{at}/dump.json", "--binary")
    run(OURS, "dump", volume.meta, f"{at}/dump.bin", "--binary", check=True)
    refused("no JSON document: add --binary", "load", empty.meta, f"{at}/dump.bin")
    fresh = f"{at}/fresh.db"
    for name in ("bad.json", "dump.bin"):
        refused(".", "load", f"sqlite3://{fresh}", f"{at}/{name}")
        assert not [file for file in os.listdir(at) if file.startswith("fresh.db")], "a load that failed leaves no database"
    # Nothing of it is in the way of the next one.
    run(OURS, "load", empty.meta, f"{at}/dump.json", check=True)


def big_document(path, count):
    """`count` files of a slice each in directories of 500."""
    with open(path, "w") as out:
        out.write('{"Setting":{"Name":"big","UUID":"b","Storage":"file","Bucket":"/nowhere/","BlockSize":4096,"Compression":"none","TrashDays":1,"MetaVersion":1,"DirStats":true},')
        out.write('"Counters":{},"FSTree":{"attr":{"inode":1,"type":"directory","mode":493,"nlink":2,"length":0},"entries":{')
        for number in range(count):
            ino, first = 2 + number + number // 500, number % 500 == 0
            if first:
                out.write("%s\"d%09d\":{\"attr\":{\"inode\":%d,\"type\":\"directory\",\"mode\":493,\"nlink\":2,\"length\":0},\"entries\":{" % ("}},\n" if number else "", number // 500, ino))
            out.write("%s\"f%09d\":{\"attr\":{\"inode\":%d,\"type\":\"regular\",\"mode\":420,\"nlink\":1,\"length\":5},\"chunks\":[{\"index\":0,\"slices\":[{\"id\":%d,\"size\":5,\"len\":5}]}]}"
                      % ("" if first else ",\n", number, ino + 1, number + 1))
        out.write("}}}}}")


def high_water(*command):
    """MiB of memory that a command had at most."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    r = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-800:]
    return int(r.stdout) / 1024


def memory(small, large, folder):
    """A dump and a load of 200 000 files have no more than those of 20 000, but for what a bit each makes."""
    grown = {}
    for copy, count in ((small, 20_000), (large, 200_000)):
        path = f"{copy.folder}/big.json"
        big_document(path, count)
        marks = [high_water(OURS, "load", copy.meta, path)]
        marks += [high_water(OURS, "dump", copy.meta, f"{copy.folder}/again{suffix}", *options)
                  for suffix, options in ((".json.gz", []), (".bin", ["--binary"]))]
        again = json.loads(gzip.decompress(read(f"{copy.folder}/again.json.gz")))
        assert again["Counters"]["usedInodes"] == count + count // 500, again["Counters"]
        grown[count] = marks
    for what, before, after in zip(("load", "dump", "dump --binary"), grown[20_000], grown[200_000]):
        assert after < before + 32, f"{what}: {before:.0f} MiB with 20 000 files, {after:.0f} MiB with 200 000"
    print(f"      memory with 20 000 and 200 000 files: {grown}", flush=True)


def backups(volume, copies, key):
    """A mount of ours backs up what either client then loads, sealed as everything in the bucket of an encrypted volume;
    old backups go. The shortest interval is 5 minutes and is looked at after a tenth of it: this claim waits for that."""
    meta = os.path.join(volume.folder, "data", volume.name, "meta")
    os.makedirs(meta)
    for old in ("dump-2020-01-01-000000.json.gz", "notes"):
        write(os.path.join(meta, old), b"x")
    where = volume.mount(OURS, "--backup-meta", "5m", "--enable-xattr")
    write(f"{where}/kept", b"kept")
    done = lambda: [name for name in os.listdir(meta) if re.fullmatch(r"dump-20[\d-]{8}-\d{6}\.json\.gz", name) and "2020-01" not in name]
    until("a backup is in the bucket and old ones are gone", lambda: done() and not os.path.exists(os.path.join(meta, "dump-2020-01-01-000000.json.gz")), 60)
    assert sorted(os.listdir(meta)) == sorted(done() + ["notes"])
    volume.umount(where)
    for binary, copy in zip((OURS, PEER), copies):
        code, text = run(OURS, "load", copy.meta, os.path.join(meta, done()[0]))
        assert code == 1 and "FATAL" in text, "what is sealed is no dump"
        run(binary, "load", copy.meta, os.path.join(meta, done()[0]), "--encrypt-rsa-key", key, check=True)
        where = copy.mount(PEER)
        assert read(f"{where}/kept") == b"kept"
        copy.umount(where)
    code, text = run(OURS, "mount", "--backup-meta", "1m", volume.meta, f"{volume.folder}/m1")
    assert code == 1 and "backup-meta should not be less than 5 minutes" in text, text


def claims(world):
    key = os.path.join(world.folder, "dumps.pem")
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    backed_up, restored = world.volume("sqlite", "--encrypt-rsa-key", key), [Copy(world, "sqlite"), Copy(world, "redis")]
    found = [("a mount backs up the metadata", lambda: backups(backed_up, restored, key))]
    for engine in ENGINES:
        volume = world.volume(engine, "--enable-acl")
        run(PEER, "config", volume.meta, "--user-group-quota", "--yes", check=True)
        copies = [Copy(world, to) for _ in range(6) for to in (engine, other(engine))]
        found.append((f"dumps go both ways ({engine})", lambda volume=volume, copies=copies: both_ways(volume, copies)))
        plain, empty = world.volume(engine), Copy(world, engine)
        found.append((f"dump and load refuse with a reason ({engine})", lambda plain=plain, empty=empty: refusals(plain, empty)))
        small, large = Copy(world, engine), Copy(world, engine)
        found.append((f"memory of dump and load is flat ({engine})", lambda small=small, large=large: memory(small, large, world.folder)))
    return found
