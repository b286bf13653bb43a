"""The command line against the peer's, black box: every command and flag of the peer is there or says "not supported
yet"; same spellings, defaults, JSON, words and exit codes; no secret to be seen. Ends in "N passed, N failed".
Needs JUICEFS and PEER (binaries); starts one Redis on a free loopback port."""
import json, os, re, shutil, socket, subprocess, sys, tempfile, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peer"))
from servers import Redis

OURS, PEER = os.environ["JUICEFS"], os.environ["PEER"]
CANARY = "canary-5f1e"
passed, failed = 0, []

def check(name, problem):
    global passed
    if problem:
        failed.append(name)
        print(f"FAIL  {name}: {problem}", flush=True)
    else:
        passed += 1
        print(f"ok    {name}", flush=True)

class Said:
    def __init__(self, binary, *words, env=None, stdin=""):
        clean = {k: v for k, v in os.environ.items() if k not in ("META_PASSWORD", "REDIS_PASSWORD", "ACCESS_KEY", "SECRET_KEY", "SESSION_TOKEN")}
        done = subprocess.run([binary, *words], capture_output=True, text=True, env={**clean, **(env or {})}, input=stdin, timeout=60)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.all = self.out + self.err

    def json(self):
        return json.loads(self.out)

def both(*words, **more):
    return Said(OURS, *words, **more), Said(PEER, *words, **more)

# ---- what the peer has

def flags_of(text):
    """(names, takes a value, default) of every flag in a help text of the peer."""
    found = []
    for line in text.splitlines():
        if not re.match(r"   --?[a-z]", line):
            continue
        m = re.match(r"\s+(-{1,2}[^\s,]+(?: \S+)?(?:, -{1,2}[^\s,]+(?: \S+)?)*)(?: \[ [^\]]* \])?\s{2,}", line)
        assert m, f"a flag of the peer that this test can't read: {line}"
        names = [part.split()[0].lstrip("-") for part in m[1].split(", ")]
        takes_value = any(len(part.split()) > 1 for part in m[1].split(", "))
        default = re.search(r'\(default: "?([^")]*)"?\)', line)
        found.append((names, takes_value, default[1] if default else ""))
    return found

def commands_of_the_peer():
    text = Said(PEER, "--help").out.split("COMMANDS:")[1].split("GLOBAL OPTIONS:")[0]
    return re.findall(r"^     ([a-z]+)\s", text, re.M) + ["mdtest"]

OURS_TOO = ["bench", "changelog", "dump", "load", "format", "status", "config", "mount", "umount", "fsck", "gc", "compact", "info", "restore", "rmr", "summary", "destroy", "quota", "profile", "stats", "warmup", "version"]
ARGUMENTS = {"format": 2, "mount": 2, "version": 0}

def every_command(names):
    check("the peer has the commands that we know of", len(names) < 29 and names)
    for name in names:
        ours = Said(OURS, name, "--help")
        if name in OURS_TOO:
            check(f"{name}: help has a usage and examples", (ours.code or "Usage:" not in ours.out or "Examples:" not in ours.out) and ours.all)
        else:
            said = [Said(OURS, name, *words) for words in ((), ("--help",), ("redis://127.0.0.1:1", "x", "--threads", "3"))]
            check(f"{name}: is not supported yet", [s.all for s in said if not s.code or "not supported yet" not in s.err or name not in s.err])

# What comes before the address.
ACTION = {"quota": ["set"]}
SUBCOMMANDS = {"quota": ["set", "get", "delete", "list", "check"], "tier": ["list", "set", "restore"]}

def every_flag_of_what_is_not_there(names):
    """A script of the peer's users never meets "unknown": not for a flag, not for a subcommand."""
    for name in names:
        if name in OURS_TOO:
            continue
        text = Said(PEER, name, "--help").out
        flags = flags_of(text)
        subcommands = re.findall(r"^   ([a-z]+)[, ]", text.split("COMMANDS:")[1].split("OPTIONS:")[0], re.M) if "\nCOMMANDS:" in text else []
        check(f"{name}: the subcommands that we know of", subcommands != SUBCOMMANDS.get(name, []) and subcommands)
        unknown = []
        for subcommand in subcommands or [None]:
            for spellings, takes_value, default in flags:
                for spelling in spellings:
                    words = [name, *([subcommand] if subcommand else []), "redis://127.0.0.1:1", ("-" if len(spelling) == 1 else "--") + spelling] + ([default or "1"] if takes_value else [])
                    said = Said(OURS, *words)
                    if said.code != 1 or f"`{name}` is not supported yet" not in said.err:
                        unknown.append([words, said.all])
        check(f"{name}: none of its {len(flags)} flags is unknown", (not flags or unknown) and unknown)

def every_flag(meta, mountpoint):
    for command in OURS_TOO:
        shown, told_defaults = Said(OURS, command, "--help").out, []
        for names, takes_value, default in flags_of(Said(PEER, command, "--help").out):
            if "help" in names:
                continue
            for name in names:
                dash = "-" if len(name) == 1 else "--"
                positional = ACTION.get(command, []) + [meta, mountpoint][: ARGUMENTS.get(command, 1)]
                # A word that no flag takes: clap stops there, so that nothing is done.
                words = [command, *positional, f"{dash}{name}"] + ([default or "1"] if takes_value else []) + ["--no-such-flag"]
                said = Said(OURS, *words)
                unknown = "no-such-flag" not in said.err or said.code != 1
                check(f"{command} {dash}{name}: is known", unknown and said.all)
            # A flag that is not shown is one that is not there yet, or one without effect: using it says which.
            long = next((n for n in names if len(n) > 1), names[0])
            if f"--{long}" in shown or f"-{long} " in shown:
                told_defaults.append((long, default))
        if command == "mount":
            compare_defaults(shown, told_defaults)

# Defaults that differ on purpose: docs/semantics.md.
OTHER_DEFAULTS = {"skip-dir-mtime": "0", "max-fuse-io": "1M"}

def seconds(text):
    return float(text[:-1]) if re.fullmatch(r"[\d.]+s", text) else text

def compare_defaults(shown, told):
    entries = re.split(r"\n(?=\s+-)", shown)
    for name, default in told:
        entry = next(e for e in entries if re.search(rf"^\s+(-\w, )?--?{name}\b(?!-)", e))
        ours = re.search(r"\[default:\s+([^\]]*)\]", entry)
        ours = re.sub(r"\s+", " ", ours[1]) if ours else ""
        wanted = OTHER_DEFAULTS.get(name, "" if default == "false" else default)
        same = seconds(ours) == seconds(wanted) or (ours in ("", "0") and wanted in ("", "0", "0s"))
        check(f"mount --{name}: default {wanted or 'none'}", not same and f"ours is {ours!r}")

# Taken in silence: a dry run needs no threads, and nothing is ever reported.
ACCEPTED = ("threads", "no-usage-report")

def not_supported_yet(meta, mountpoint):
    """Every flag of the peer that our help does not show says "not supported yet" or that it has no effect."""
    for command in OURS_TOO:
        shown = Said(OURS, command, "--help").out
        for names, takes_value, default in flags_of(Said(PEER, command, "--help").out):
            long = max(names, key=len)
            if long in ("help", "o") or re.search(rf"--{long}\b", shown):
                continue
            positional = ACTION.get(command, []) + [meta, "avol" if command == "format" else mountpoint][: ARGUMENTS.get(command, 1)]
            values = ["2"] if takes_value else []
            for name in names:
                dash = "-" if len(name) == 1 else "--"
                said = Said(OURS, command, *positional, dash + name, *values)
                if long in ACCEPTED:
                    check(f"{command} {dash}{name}: is taken", ("not supported yet" in said.err or "unexpected" in said.err) and said.all)
                elif "has no effect" in said.err:
                    check(f"{command} {dash}{name}: has no effect and says so", long not in said.err and said.all)
                else:
                    check(f"{command} {dash}{name}: not supported yet", (said.code == 0 or "not supported yet" not in said.err or long not in said.err) and said.all)

# ---- the same words on the same volumes

def shape(value):
    """Keys in order and types."""
    if isinstance(value, dict):
        return [(k, shape(v)) for k, v in value.items()]
    if isinstance(value, list):
        return [shape(v) for v in value[:1]]
    return type(value).__name__

def spelling(folder):
    m = f"sqlite3://{folder}/spell.db"
    assert Said(PEER, "format", m, "spell", "--bucket", folder + "/spell").code == 0
    for words in (["-trash-days", "9"], ["--trash-days=8"], ["--trash-days", "3", "--trash-days", "4"], ["--dir-stats=0"], ["--dir-stats=T"], ["-dir-stats=false"]):
        ours = Said(OURS, "config", *words, m)
        settings = Said(PEER, "config", m).json()
        theirs = Said(PEER, "config", m, *words)
        check(f"config {' '.join(words)}: as the peer reads it", (ours.code or theirs.out.strip() != "Nothing changed." or settings != Said(PEER, "config", m).json()) and ours.all + theirs.all)
    for words in (["--dir-stats=maybe"], ["--trash-days"], ["--inodes", "-1"], ["--dir-stats", "false"], ["extra"], ["--nonsense"]):
        ours, theirs = both("config", m, *words)
        check(f"config {' '.join(words)}: refused as by the peer", (ours.code != theirs.code or ours.code != 1) and ours.all)
    for words in (["-q", "status", m], ["status", m, "--quiet"], ["status", "--no-agent", m], ["--log-id", "x", "status", m], ["status", m, "-v=false"]):
        ours, theirs = both(*words)
        check(f"{' '.join(words[:2])}: global options anywhere", (ours.code or ours.json() != theirs.json() or ("-q" in words and ours.err)) and ours.all)

def exit_codes(folder):
    nobody = f"sqlite3://{folder}/nobody.db"
    for words in ([], ["nonsense"], ["mout"], ["status"], ["format", nobody], ["umount"], ["version", "--nonsense"], ["status", nobody], ["--version"], ["-V"], ["version"],
                  ["umount", folder], ["umount", folder + "/missing"], ["status", "nonsense://x"], ["format", nobody, "Bad_Name"], ["format", nobody, "abc", "--compress", "nonsense"]):
        ours, theirs = both(*words)
        check(f"exit code of `juicefs {' '.join(w.replace(folder, '') for w in words)}` is {theirs.code}", ours.code != theirs.code and ours.all)
    check("a command that is nearly one is guessed", "mount" not in Said(OURS, "mout").err and Said(OURS, "mout").err)
    check("a flag that is nearly one is guessed", "--trash-days" not in Said(OURS, "config", nobody, "--trash-day", "1").err and "no tip")
    for words in (["version"], ["--version"]):
        ours, theirs = both(*words)
        pattern = r"juicefs version 1\.4\.2\+\S+\n"
        check(f"{words[0]} prints what the peer prints", not (re.fullmatch(pattern, ours.out) and re.fullmatch(pattern, theirs.out)) and ours.all + theirs.all)

def settings(volume):
    """`config`: both clients in turns on one volume print the same changes and show the same settings."""
    steps = [[], ["--trash-days", "7"], ["--trash-days", "7"], ["--capacity", "1", "--inodes", "100"], ["--capacity", "1.5G"], ["--capacity", "0", "--inodes", "0", "-y"], ["--upload-limit", "100", "--download-limit", "1500"],
             ["--access-key", "BK", "--secret-key", CANARY + "2"], ["--dir-stats=false"], ["--dir-stats"], ["--min-client-version", "1.2.0", "--max-client-version", "2.0"], ["--storage-class", "X"], ["--encrypt-secret"]]
    a, b = volume("one", OURS), volume("two", PEER)
    for words in steps:
        said = [Said(binary, "config", m, *words) for binary, m in ((OURS, a), (PEER, b))]
        shown = [re.sub(r'"UUID": ".*"', "", s.out).replace("/two", "/one").replace("two", "one") for s in said]
        check(f"config {' '.join(w for w in words if CANARY not in w) or '(nothing)'}: the same words", (said[0].code != said[1].code or shown[0] != shown[1]) and shown)
        check(f"config {' '.join(w for w in words if CANARY not in w) or '(nothing)'}: no secret is shown", CANARY in said[0].all and said[0].all)
    for m in (a, b):
        ours, theirs = both("config", m)
        check("config shows the same settings", ours.out != theirs.out and [ours.out, theirs.out])
        ours, theirs = both("status", m)
        check("status shows the same", ours.out != theirs.out and [ours.out, theirs.out])
    for words in (["--trash-days", "0"], ["--min-client-version", "9.0.0"], ["--min-client-version", "x"]):
        for stdin in ("", "n\n"):
            ours, theirs = both("config", a, *words, stdin=stdin)
            check(f"config {' '.join(words)}: asks first", (ours.code, theirs.code) != (1, 1) and ours.all + theirs.all)
    check("config --trash-days 0: goes on after a yes", Said(OURS, "config", a, "--trash-days", "0", stdin="y\n").code)

def formatting(folder):
    m = f"sqlite3://{folder}/fmt.db"
    quiet = ["--bucket", folder + "/fmt"]
    first = Said(OURS, "format", m, "fmtvol", *quiet, "--trash-days", "2", "--compress", "lz4", "--block-size", "2M", "--inodes", "1000", "--capacity", "2", env={"ACCESS_KEY": "AK", "SECRET_KEY": CANARY})
    setting = Said(PEER, "config", m).json()
    check("format: settings are what the flags say", (first.code or [setting[k] for k in ("TrashDays", "Compression", "BlockSize", "Inodes", "Capacity", "AccessKey", "SecretKey", "KeyEncrypted")] != [2, "lz4", 2048, 1000, 2 << 30, "AK", "removed", True]) and [first.all, setting])
    check("format: no secret is shown", CANARY in first.all and first.all)
    same = Said(OURS, "format", m, "fmtvol")
    check("format twice: nothing changes", (same.code or Said(PEER, "config", m).json() != setting) and same.all)
    check("format --no-update leaves a volume as it is", (Said(OURS, "format", m, "fmtvol", "--no-update", "--trash-days", "9").code or Said(PEER, "config", m).json() != setting) and "changed")
    check("format with another setting changes it", (Said(OURS, "format", m, "fmtvol", "--trash-days", "3").code or Said(PEER, "config", m).json() != {**setting, "TrashDays": 3}) and "not so")
    for words in (["other"], ["fmtvol", "--block-size", "1M"], ["fmtvol", "--compress", "zstd"], ["fmtvol", "--hash-prefix"]):
        before = Said(PEER, "config", m).json()
        ours, theirs = both("format", m, *words)
        check(f"format {' '.join(words)}: refused as by the peer", ((ours.code, theirs.code) != (1, 1) or Said(PEER, "config", m).json() != before) and ours.all)
    forced = Said(OURS, "format", m, "fmtvol", "--force", "--block-size", "1M")
    check("format --force replaces what a volume keeps", (forced.code or Said(PEER, "config", m).json()["BlockSize"] != 1024) and forced.all)
    for size, kib in (("64K", 64), ("5M", 4096), ("48", 64), ("100M", 16384), ("16384", 16384)):
        meta = f"sqlite3://{folder}/block{size}.db"
        said = [Said(binary, "format", meta.replace(".db", end), "blocks", "--bucket", f"{folder}/b{size}{end}", "--block-size", size) for binary, end in ((OURS, ".o"), (PEER, ".p"))]
        got = [Said(PEER, "config", meta.replace(".db", end)).json()["BlockSize"] for end in (".o", ".p")]
        check(f"format --block-size {size}: as the peer rounds it, and says so", (got != [kib, kib] or ("WARNING" in said[0].err) != (size in ("5M", "48", "100M"))) and [got, said[0].all])
    plain = f"sqlite3://{folder}/block64K.o"
    check("config --encrypt-secret without secrets changes nothing", [s.out for s in both("config", plain, "--encrypt-secret")] != ["Nothing changed.\n"] * 2 and "it does")
    for words, env in ((["--access-key", "K2"], {}), ([], {"ACCESS_KEY": "K3"})):
        a, b = f"sqlite3://{folder}/ka.db", f"sqlite3://{folder}/kb.db"
        for binary, meta in ((OURS, a), (PEER, b)):
            Said(binary, "format", meta, "keyvol", "--bucket", f"{folder}/key{len(env)}{os.path.basename(meta)}", *words, env={**env, "SECRET_KEY": CANARY})
        shown = [{k: v for k, v in Said(PEER, "config", meta).json().items() if k not in ("UUID", "Bucket")} for meta in (a, b)]
        check(f"format {' '.join(words) or 'with ACCESS_KEY'}: the setting is the peer's", (shown[0] != shown[1] or list(shown[0]) != list(shown[1])) and shown)
        for meta in (a, b):
            os.unlink(meta[10:])
    taken = [Said(binary, "format", f"sqlite3://{folder}/taken.db", "fmtvol", "--bucket", folder + "/fmt") for binary in (OURS, PEER)]
    check("format refuses the bucket of another volume, although that is empty", ([s.code for s in taken] != [1, 1] or "not empty" not in taken[0].err) and taken[0].all)
    os.unlink(folder + "/fmt/fmtvol/juicefs_uuid")
    check("format again makes a missing juicefs_uuid", (Said(OURS, "format", m, "fmtvol").code or open(folder + "/fmt/fmtvol/juicefs_uuid").read() != setting["UUID"]) and "missing")
    # A compression in capitals is kept as it was written, and read.
    Said(PEER, "format", f"sqlite3://{folder}/caps.db", "caps", "--bucket", folder + "/caps", "--compress", "LZ4")
    check("format again of a volume that says LZ4", Said(OURS, "format", f"sqlite3://{folder}/caps.db", "caps", "--compress", "LZ4").code)
    Said(OURS, "format", f"sqlite3://{folder}/caps2.db", "caps", "--bucket", folder + "/caps2", "--compress", "LZ4")
    check("the peer formats our LZ4 volume again", Said(PEER, "format", f"sqlite3://{folder}/caps2.db", "caps", "--compress", "LZ4").code)

# ---- mounts

def show(pid, what):
    try:
        return open(f"/proc/{pid}/{what}", "rb").read().decode(errors="replace")
    except OSError:
        return ""

def processes_of(word):
    return [int(p) for p in filter(str.isdigit, os.listdir("/proc")) if int(p) != os.getpid() and word in show(p, "cmdline")]

def until(what, seconds=20):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True

class Mounted:
    def __init__(self, binary, folder, meta, *options, env=None):
        self.where = tempfile.mkdtemp(dir=folder)
        self.said = Said(binary, "mount", "-d", "--no-usage-report", "--log", self.where + ".log", "--cache-dir", self.where + ".cache", *options, meta, self.where, env=env)

    def __enter__(self):
        assert os.path.ismount(self.where), self.said.all
        return self

    def __exit__(self, *_):
        if os.path.ismount(self.where):
            subprocess.run(["umount", "-l", self.where])
        until(lambda: not processes_of(self.where))

def sessions(folder, meta):
    with Mounted(OURS, folder, meta) as a, Mounted(PEER, folder, meta) as b:
        ours, theirs = both("status", meta)
        check("status with sessions of both: the same", ours.json() != theirs.json() and [ours.out, theirs.out])
        first, second = theirs.json()["Sessions"]
        check("a session of ours has the peer's fields", shape(first) != shape(second) and [first, second])
        f = open(a.where + "/open", "w")
        f.write("x"), f.flush(), os.fsync(f.fileno()), os.unlink(a.where + "/open")
        ours, theirs = both("status", meta, "--session", str(first["Sid"]))
        check("status --session: the same, sustained inodes too", (ours.json() != theirs.json() or "Sustained" not in ours.json()) and [ours.out, theirs.out])
        ours, theirs = both("status", meta, "-s", "99")
        check("status of a session that is not there", (ours.code != theirs.code or ours.code != 1 or "99" not in ours.err) and ours.all)
        busy = [Said(binary, "umount", where) for binary, where in ((OURS, a.where), (PEER, a.where))]
        check("umount of a busy mount: exit code 1 and why", ([s.code for s in busy] != [1, 1] or "busy" not in busy[0].err or not os.path.ismount(a.where)) and busy[0].all)
        f.close()
        for flag in ("--flush", "--force"):
            where = a.where if flag == "--flush" else b.where
            done = Said(OURS, "umount", flag, where)
            check(f"umount {flag} of {'ours' if flag == '--flush' else 'the peer'}", (done.code or os.path.ismount(where)) and done.all)
        check("umount of what is not mounted any more", Said(OURS, "umount", a.where).code != 1 and "exit code")
    check("status without sessions again", not until(lambda: Said(OURS, "status", meta).json()["Sessions"] == []) and "still there")

def helper(folder, meta):
    """mount.juicefs, as mount(8) calls it, and the words of -o."""
    name = folder + "/mount.juicefs"
    os.symlink(OURS, name)
    where = tempfile.mkdtemp(dir=folder)
    options = f"rw,_netdev,nofail,cache-size=100,cache-dir={folder}/hc,log={folder}/helper.log,no-usage-report,allow_other,noatime,x-systemd.automount,read-only"
    said = Said(name, meta, where, "-n", "-o", options)
    table = [l for l in open("/proc/mounts") if l.split()[1] == where]
    check("mount.juicefs mounts in the background with its options", (said.code or not table or "noatime" not in table[0] or "fuse.juicefs" not in table[0]) and said.all)
    config = json.load(open(where + "/.config")) if table else {}
    check("mount.juicefs: flags in -o are flags", ([config.get("Meta", {}).get("ReadOnly"), config.get("Chunk", {}).get("CacheSize")] != [True, 100 << 20]) and config)
    Said(OURS, "umount", where)
    said = Said(name, "-f", meta, where)
    check("mount.juicefs -f does nothing", (said.code or os.path.ismount(where)) and said.all)
    said = Said(OURS, "mount", "-d", "--log", folder + "/o.log", "--cache-dir", folder + "/oc", meta, where, "-o", "no_such_word")
    check("an unknown word of -o is named", (said.code != 1 or "no_such_word" not in said.err) and said.all)

def secrets(folder, redis):
    """Passwords reach us by the address and by the environment, and are seen nowhere: arguments, environment of the
    mount and of its children, log, .config, status."""
    with Mounted(OURS, folder, f"redis://:{CANARY}@127.0.0.1:{redis.port}/1", env={"ACCESS_KEY": "AK", "SECRET_KEY": CANARY}) as a, \
         Mounted(OURS, folder, f"127.0.0.1:{redis.port}/1", env={"META_PASSWORD": CANARY}) as b:
        for how, m in (("in the address", a), ("in the environment", b)):
            seen = []
            for pid in processes_of(m.where):
                seen += [what for what in ("cmdline", "environ") if CANARY in show(pid, what)]
            seen += [path for path in (m.where + ".log", m.where + "/.config", m.where + "/.stats") if CANARY in open(path, errors="replace").read()]
            check(f"a password {how} is not to be seen", (not processes_of(m.where) or seen or CANARY in m.said.all) and seen)
    # A command's own arguments, while it waits for somebody who accepts and never answers.
    deaf = socket.create_server(("127.0.0.1", 0))
    port = deaf.getsockname()[1]
    waiting = subprocess.Popen([OURS, "format", f"redis://:{CANARY}@127.0.0.1:{port}/1", "deafvol", "--secret-key", CANARY, f"--session-token={CANARY}", "--access-key", "AK"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "SECRET_KEY": CANARY})
    deaf.settimeout(20)
    deaf.accept()  # It got this far: its secrets are read.
    seen = [what for what in ("cmdline", "environ") if CANARY in show(waiting.pid, what)]
    shown = show(waiting.pid, "cmdline")
    waiting.kill(), waiting.wait()
    check("secrets in arguments of a running command are not to be seen", (seen or "deafvol" not in shown) and [seen, shown])
    said = Said(OURS, "status", "sqlite3://x", f"redis://u:{CANARY}@h/1").all
    check("an argument too many shows no secret", (CANARY in said or "unexpected argument" not in said) and said)
    for name in ("META_PASSWORD", "REDIS_PASSWORD"):
        check(f"{name} opens a bare host", Said(OURS, "status", f"127.0.0.1:{redis.port}/1", env={name: CANARY}).code)
    with open(folder + "/password", "w") as f:
        f.write(CANARY + "\n")
    check("META_PASSWORD_FILE too", Said(OURS, "status", f"127.0.0.1:{redis.port}/1", env={"META_PASSWORD_FILE": folder + "/password"}).code)
    ours, theirs = both("status", f"127.0.0.1:{redis.port}/1", env={"META_PASSWORD": CANARY})
    check("status shows no secret and the same as the peer's", (CANARY in ours.all or ours.json() != theirs.json() or ours.json()["Setting"]["SecretKey"] != "removed") and [ours.all, theirs.all])

def said_at_mount(folder, meta):
    with Mounted(OURS, folder, meta, "--sort-dir", "--consul", "127.0.0.1:1") as m:
        log = open(m.where + ".log").read() + m.said.all
        check("a mount makes metadata backups and says nothing of it", "backup" in log and log)
        check("a mount names each flag without effect", [f for f in ("--sort-dir has no effect", "--consul has no effect") if f not in log] and log)
    said = Said(OURS, "mount", meta, folder + "/file", "--atime-mode", "sometimes")
    check("an --atime-mode that there is not is named", (said.code != 1 or "relatime" not in said.err) and said.all)

def nobody_is_told(folder, meta):
    """No usage report: the peer's flag changes nothing, and a mount without it opens no connection."""
    with Mounted(OURS, folder, meta) as m:
        pids = processes_of(m.where)
        sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for pid in pids for fd in os.listdir(f"/proc/{pid}/fd")}
        table = "".join(open(f"/proc/net/{kind}").read() for kind in ("tcp", "tcp6", "udp", "udp6"))
        # One that listens (0A) for whoever reads its metrics is connected to nobody.
        inodes = {f"socket:[{line.split()[9]}]" for line in table.splitlines() if ":" in line.split()[0] and line.split()[3] != "0A"}
        check("a mount on SQLite and a folder has no socket to anybody", not pids or sockets & inodes)

def reports(meta):
    for command, words in (("gc", ["using 0 slices", "0 leaked"]), ("fsck", ["Found 0 blocks", "Used by 0 slices"])):
        ours, theirs = both(command, meta)
        check(f"{command} of an empty volume: the peer's words", (ours.code or theirs.code or [w for w in words if w not in ours.err or w not in theirs.err]) and ours.all + theirs.all)

def main():
    folder = tempfile.mkdtemp(prefix="juicefs-cli.")
    redis = Redis(folder, None, "--requirepass", CANARY)
    try:
        def volume(name, binary):
            meta = f"sqlite3://{folder}/{name}.db"
            said = Said(binary, "format", meta, name + "vol", "--bucket", f"{folder}/{name}", "--access-key", "AK", "--secret-key", CANARY, "--trash-days", "0" if name == "mnt" else "1")
            assert said.code == 0, said.all
            return meta
        nothing = f"sqlite3://{folder}/nothing.db"
        no_directory = folder + "/file"
        open(no_directory, "w").close()
        names = commands_of_the_peer()
        every_command(names)
        every_flag_of_what_is_not_there(names)
        every_flag(nothing, no_directory)
        not_supported_yet(nothing, no_directory)
        spelling(folder)
        exit_codes(folder)
        settings(volume)
        formatting(folder)
        meta = volume("mnt", OURS)
        reports(meta)
        sessions(folder, meta)
        helper(folder, meta)
        nobody_is_told(folder, meta)
        said_at_mount(folder, meta)
        said = Said(OURS, "format", f"127.0.0.1:{redis.port}/1", "secvol", "--bucket", folder + "/sec", env={"META_PASSWORD": CANARY, "ACCESS_KEY": "AK", "SECRET_KEY": CANARY})
        check("format of a bare host with META_PASSWORD and SECRET_KEY", said.code and said.all)
        secrets(folder, redis)
    finally:
        redis.stop()
        for line in open("/proc/mounts"):
            if line.split()[1].startswith(folder):
                subprocess.run(["umount", "-l", line.split()[1]])
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0

sys.exit(main())
