"""`.config` and `.stats` are the peer's: modes, keys, names, masked secrets, the values where the flags are the same."""
import json, os, re, stat, urllib.request
from volume import ENGINES, OURS, PEER, errno_of, read, run, until, write

# Numbers of one process, and paths that differ by their mount.
OF_ITS_OWN = {"Meta.MountPoint", "Meta.Sid", "Chunk.CacheDir", "Version", "Pid", "PPid", "CommPath", "StatePath"}
# Deviations: times are set by every entry, requests may be of 1 MiB and 256 of them may wait, the kernel applies the
# umask, and nothing ends a request but its answer.
DEVIATIONS = {"Meta.SkipDirMtime", "FuseOpts.MaxWrite", "FuseOpts.MaxBackground", "FuseOpts.DontUmask", "FuseOpts.Timeout"}
# Ours alone: how long somebody has been waiting, and for what (decisions 24). Errors have the names that occurred;
# restarts and deleted slices are counted without a label, and from the start.
OUR_METRICS = ("juicefs_waiting_", "juicefs_replication_", "juicefs_fuse_ops_io_errors_", "juicefs_transaction_restart", "juicefs_slices_deleted")


def flat(document, prefix=""):
    for key, value in document.items():
        if isinstance(value, dict) and key != "Tiers":
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def work(where):
    for number in range(20):
        write(f"{where}/f{number}", b"x" * 200_000)
    os.rename(f"{where}/f0", f"{where}/g"), os.unlink(f"{where}/f1"), os.mkdir(f"{where}/d"), os.listdir(where)
    os.symlink("x", f"{where}/s"), os.readlink(f"{where}/s"), os.rmdir(f"{where}/d"), os.truncate(f"{where}/f2", 5), os.chmod(f"{where}/f2", 0o600)
    os.link(f"{where}/f3", f"{where}/h"), os.statvfs(where)
    assert not os.path.exists(f"{where}/missing")
    for number in range(2, 20):
        read(f"{where}/f{number}")


def internal_files(volume):
    ours, theirs = volume.mount(OURS), volume.mount(PEER)
    config = [dict(flat(json.loads(read(f"{where}/.config")))) for where in (ours, theirs)]
    for keys in config:  # there is no agent here
        keys.pop("Port.PrometheusAgent", None), keys.pop("Port.DebugAgent", None)
    assert set(config[0]) == set(config[1]), f"keys differ: {set(config[0]) ^ set(config[1])}"
    differ = {key for key in config[0] if config[0][key] != config[1][key]}
    assert differ <= OF_ITS_OWN | DEVIATIONS, {key: (config[0][key], config[1][key]) for key in differ - OF_ITS_OWN - DEVIATIONS}
    for where in (ours, theirs):
        modes = [stat.S_IMODE(os.stat(f"{where}/{name}").st_mode) for name in (".stats", ".config")]
        assert modes == [0o444, 0o400], (where, modes)
        assert os.stat(f"{where}/.stats").st_size == 0 and os.stat(f"{where}/.config").st_size == len(read(f"{where}/.config"))
        if volume.engine == "redis":
            text = read(f"{where}/.config").decode()
            assert volume.world.s3.secret_key not in text and '"SecretKey": "removed"' in text, text
    for name in (".stats", ".config"):
        for refused in (lambda n: os.unlink(f"{ours}/{n}"), lambda n: os.rename(f"{ours}/{n}", f"{ours}/x"), lambda n: write(f"{ours}/{n}", b"x", os.O_WRONLY)):
            try:
                refused(name)
                raise AssertionError(f"{name} was changed")
            except PermissionError:
                pass
    for where in (ours, theirs):
        os.mkdir(f"{where}/by{where[-1]}"), work(f"{where}/by{where[-1]}")

    def names(where):
        found = {line.split(" ")[0] for line in read(f"{where}/.stats").decode().splitlines()}
        # Which requests a mount made is its caches' affair.
        return {re.sub(r"(juicefs_object_request_\w+)_(GET|PUT|DELETE|HEAD)", r"\1", name) for name in found}

    unknown = {name for name in names(ours) - names(theirs) if not name.startswith(OUR_METRICS)}
    assert not unknown, f"not names of the peer: {sorted(unknown)}"
    missing = {name for name in names(theirs) - names(ours) if not name.startswith(NOT_THERE)}
    assert not missing, f"names of the peer that are missing: {sorted(missing)}"
    value = dict(line.split(" ") for line in read(f"{ours}/.stats").decode().splitlines())
    assert float(value["juicefs_fuse_written_size_bytes_sum"]) == 20 * 200_000, value
    assert float(value["juicefs_fuse_ops_total_rename"]) >= 1 and float(value["juicefs_object_request_durations_histogram_seconds_PUT_total"]) >= 20, value
    volume.umount(theirs), volume.umount(ours)


def scraped(address):
    """Metrics of a mount: name -> type, and name -> its labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
        text = answer.read().decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    labels = {}
    for name, pairs in re.findall(r"^(\w+)\{(.*)\} \S+$", text, re.M):
        labels.setdefault(re.sub("_(bucket|sum|count)$", "", name), {}).update(re.findall(r'(\w+)="([^"]*)"', pairs))
    return kinds, labels


def metrics(volume):
    """`--metrics`: the peer's names, types and labels; /healthz; addresses that are taken or are none."""
    ours = volume.mount(OURS, "--custom-labels", "env:test;team:a", "--metrics", "localhost:0")
    theirs = volume.mount(PEER, "--custom-labels", "env:test;team:a")
    for where, own in ((ours, "o"), (theirs, "t")):
        os.mkdir(f"{where}/{own}"), work(f"{where}/{own}")
    addresses = [json.loads(read(f"{where}/.config"))["Port"]["PrometheusAgent"] for where in (ours, theirs)]
    (kinds, labels), (their_kinds, their_labels) = map(scraped, addresses)
    both = set(kinds) & set(their_kinds)
    assert {name: kinds[name] for name in both} == {name: their_kinds[name] for name in both}
    missing = {name for name in set(their_kinds) - set(kinds) if not name.startswith((*NOT_THERE, "go_", "process_", "promhttp_"))}
    assert not missing, f"names of the peer that are missing: {sorted(missing)}"
    unknown = {name for name in set(kinds) - set(their_kinds) if not f"{name}_".startswith((*OUR_METRICS, "juicefs_object_request"))}
    assert not unknown, f"not names of the peer: {sorted(unknown)}"
    for name in ("juicefs_uptime", "juicefs_fuse_ops_total", "juicefs_used_space", "juicefs_fuse_read_size_bytes"):
        keys = [{key for key in found[name] if key != "le"} for found in (labels, their_labels)]
        assert keys[0] == keys[1], (name, keys)
    same = {key: labels["juicefs_uptime"][key] for key in ("env", "team", "instance", "vol_name")}
    assert same == {key: their_labels["juicefs_uptime"][key] for key in same} and labels["juicefs_uptime"]["mp"] == ours, labels["juicefs_uptime"]
    with urllib.request.urlopen(f"http://{addresses[0]}/healthz", timeout=10) as answer:
        assert (answer.status, answer.read()) == (200, b"ok\n")
    # Taken: by default another port, and without metrics when it was asked for.
    other = volume.mount(OURS)
    assert scraped(json.loads(read(f"{other}/.config"))["Port"]["PrometheusAgent"])[1]["juicefs_uptime"]["mp"] == other
    without = volume.mount(OURS, "--metrics", addresses[0])
    assert json.loads(read(f"{without}/.config"))["Port"] == {} and "no metrics" in volume.log(without)
    code, text, _ = volume.try_mount(OURS, "--metrics", "nonsense")
    assert code == 1 and "--metrics nonsense" in text, text
    for where in (ours, theirs, other, without):
        volume.umount(where)
    assert volume.sessions() == set()


def names(volume):
    """Whatever is tried with an internal name: the same errno on both mounts, and nothing made or changed."""
    outcomes, left = [], []
    for binary in (OURS, PEER):
        where = volume.mount(binary)
        seen = {}
        write(f"{where}/file", b"x"), os.makedirs(f"{where}/dir", exist_ok=True)
        # The peer keeps `.control` in every directory too, though a rename gets past it.
        for name in (".accesslog", ".control", ".stats", ".config", ".trash", *(["dir/.control"] if binary == OURS else [])):
            path, is_there = f"{where}/{name}", name in (".accesslog", ".stats", ".config", ".trash")
            tried = {
                "make": errno_of(os.mknod, path), "mkdir": errno_of(os.mkdir, path), "symlink": errno_of(os.symlink, "to", path),
                "link": errno_of(os.link, f"{where}/file", path),
                "over": errno_of(os.rename, f"{where}/dir" if name == ".trash" else f"{where}/file", path),
            }
            # Where there is no file of the name, or the kernel does not know of it, it asks for what is to be made.
            allowed = {"EPERM", "EEXIST"} if name.endswith(".control") else {"EPERM"}
            assert is_there or binary == PEER or set(tried.values()) <= allowed, (name, tried)
            if is_there:
                tried |= {
                    "away": errno_of(os.rename, path, f"{where}/away"), "second": errno_of(os.link, path, f"{where}/second"),
                    "remove": errno_of(os.rmdir if name == ".trash" else os.unlink, path), "chmod": errno_of(os.chmod, path, 0o777),
                    "chown": errno_of(os.chown, path, 1, 1), "utime": errno_of(os.utime, path), "stat": oct(os.stat(path).st_mode),
                    "owner": os.stat(path).st_uid, "truncate": errno_of(os.truncate, path, 0),
                }
                seen[name] = tried
        os.mkdir(f"{where}/dir/.trash"), os.rmdir(f"{where}/dir/.trash")
        left.append({name for name in os.listdir(where) if not name.startswith(".")} | set(os.listdir(f"{where}/dir")))
        outcomes.append(seen)
        volume.umount(where)
    assert outcomes[0] == outcomes[1], outcomes
    assert left == [{"file", "dir"}] * 2, left
    volume.judge()


# Of a runtime that is not ours, of what is not there yet (backup, write-back, the metadata calls' own
# timers), and of blocks' read and write times, which we do not keep.
NOT_THERE = ("juicefs_go_", "juicefs_last_", "juicefs_staging_", "juicefs_meta_ops_", "juicefs_blockcache_read_hist", "juicefs_blockcache_write_hist", "juicefs_subdir_info", "juicefs_process_network_")


def claims(world):
    for engine in ENGINES:
        volume = world.volume(engine, "--trash-days", "0")
        yield f"{engine}: .config and .stats are the peer's", lambda v=volume: internal_files(v)
        volume = world.volume(engine)
        yield f"{engine}: --metrics serves the peer's", lambda v=volume: metrics(v)
        volume = world.volume(engine)
        yield f"{engine}: internal names are nobody's to make or change", lambda v=volume: names(v)
