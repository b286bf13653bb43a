"""Servers of a test's own: free loopback ports, a folder that goes, ended with the test."""
import base64, glob, http.client, itertools, json, os, random, re, shutil, signal, socket, subprocess, tempfile, time


def free_ports(count):
    """Below the ports that the kernel gives to connections, so that none takes one before its server does."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        end = min(int(f.read().split()[0]), 32768)
    sockets, ports = [], []
    try:
        while len(ports) < count:
            s, port = socket.socket(), random.randrange(10000, end)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                s.close()
                continue
            sockets.append(s), ports.append(port)
    finally:
        for s in sockets:
            s.close()
    return ports


class Server:
    SECONDS_TO_ANSWER = 90  # a busy machine

    def __init__(self, folder):
        self.process = None
        self.log = os.path.join(folder, type(self).__name__ + ".log")

    def spawn(self, *command):
        """Starts it and waits until it answers; what it said is shown when it does not."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + self.SECONDS_TO_ANSWER
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                ended = self.process.poll()
                self.stop(signal.SIGKILL)
                with open(self.log, errors="replace") as log:
                    said = "".join(log.readlines()[-20:])
                raise RuntimeError(f"{command[0]} does not answer (exit code {ended}):\n{said}")
            time.sleep(0.05)

    def stop(self, sig=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Redis(Server):
    """Append-only, synced at each write, so that a kill loses nothing that was acknowledged."""

    def __init__(self, folder, port=None, *options):
        super().__init__(folder)
        self.folder, self.port, self.options = folder, port or free_ports(1)[0], options
        self.start()

    def start(self):
        self.spawn("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
                   "--appendonly", "yes", "--appendfsync", "always", "--save", "", *self.options)

    def answers(self):
        said = subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True).stdout.strip()
        return said in (b"PONG", b"NOAUTH Authentication required.")

    def url(self, db=1, port=None):
        return f"redis://127.0.0.1:{port or self.port}/{db}"


class Database(Server):
    """A database server that does not run as root: as its own user, in a folder of that user's."""

    def __init__(self, folder, user):
        super().__init__(folder)
        self.data, self.port = os.path.join(folder, type(self).__name__), free_ports(1)[0]
        os.makedirs(self.data)
        os.chmod(folder, 0o755)
        self.as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if os.getuid() == 0 else []
        if self.as_user:
            shutil.chown(self.data, user, user)
        self.made = itertools.count()
        self.start()

    def said(self, *command):
        r = subprocess.run(command, capture_output=True, text=True, cwd="/")
        assert r.returncode == 0, f"{' '.join(command)}: {r.stdout}{r.stderr}"
        return r.stdout


class Postgres(Database):
    """Durable as it comes; a database for each volume."""

    def __init__(self, folder):
        # Debian keeps its programs out of the path.
        self.bin = os.path.dirname(shutil.which("initdb", path=os.pathsep.join([*glob.glob("/usr/lib/postgresql/*/bin"), os.environ["PATH"]])) or "")
        assert self.bin, "PostgreSQL is not installed: run make tools"
        super().__init__(folder, "postgres")

    def start(self):
        self.said(*self.as_user, f"{self.bin}/initdb", "-D", f"{self.data}/d", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "--no-sync")
        self.spawn(*self.as_user, f"{self.bin}/postgres", "-D", f"{self.data}/d", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                   "-c", "max_connections=400", "-c", "fsync=off")

    def answers(self):
        return subprocess.run([f"{self.bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0

    def sql(self, query, database="postgres"):
        """Rows of text, fields after one another."""
        return [line.split("\t") for line in self.said("psql", "-XAtqF", "\t", "-v", "ON_ERROR_STOP=1", "-c", query, self.url(database)).splitlines()]

    def url(self, database, option=""):
        return f"postgres://postgres{':sekret' if option else ''}@127.0.0.1:{self.port}/{database}?sslmode=disable" + (f"&{option}" if option else "")

    def tables(self, database):
        """How the tables, columns and indexes of a volume are made, those of our own left out."""
        text = self.said("pg_dump", "-s", "--no-owner", "--exclude-table=*rs_*", self.url(database))
        return [line for line in text.splitlines() if line and not line.startswith(("--", "\\"))]

    def rows(self, database):
        """Every row of every table; bytes as hexadecimal digits."""
        for (table,) in self.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'", database):
            for (row,) in self.sql(f"SELECT to_jsonb(t) FROM {table} t", database):
                yield table, {c: v.removeprefix("\\x") if isinstance(v, str) else v for c, v in json.loads(row).items()}

    def database(self, name=""):
        """The address of a new one."""
        name = name or f"vol{next(self.made)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def stop(self, sig=signal.SIGQUIT):
        super().stop(signal.SIGQUIT)


class MariaDb(Database):
    """A database for each volume."""

    def __init__(self, folder):
        super().__init__(folder, "mysql")

    def start(self):
        user = ["--user=mysql"] if self.as_user else []
        self.said("mariadb-install-db", "--no-defaults", f"--datadir={self.data}/d", *user, "--auth-root-authentication-method=normal", "--skip-test-db")
        self.spawn("mariadbd", "--no-defaults", f"--datadir={self.data}/d", *user, f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self.data}/s",
                   "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--max-connections=400")

    def answers(self):
        return subprocess.run(["mariadb-admin", *self.client, "ping"], capture_output=True).returncode == 0

    @property
    def client(self):
        return ["--no-defaults", "--host=127.0.0.1", f"--port={self.port}", "--user=root"]

    def sql(self, query, database="mysql"):
        """Rows of text, fields after one another."""
        return [line.split("\t") for line in self.said("mariadb", *self.client, "--batch", "--raw", "--skip-column-names", "-e", query, database).splitlines()]

    def tables(self, database):
        """How the tables, columns and indexes of a volume are made, those of our own left out."""
        text = self.said("mariadb-dump", *self.client, "--no-data", "--compact", f"--ignore-table={database}.jfs_rs_marker", f"--ignore-table={database}.jfs_rs_record", database)
        return [re.sub(r" AUTO_INCREMENT=\d+", "", line) for line in text.splitlines() if line and not line.startswith("/*")]

    def rows(self, database):
        """Every row of every table; bytes as hexadecimal digits."""
        tables = {}
        columns = self.sql(f"SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = '{database}' ORDER BY table_name, ordinal_position")
        for table, column, kind in columns:
            tables.setdefault(table, []).append(f"'{column}', " + (f"lower(hex(`{column}`))" if kind in ("blob", "varbinary", "longblob") else f"`{column}`"))
        for table, fields in tables.items():
            for (row,) in self.sql(f"SELECT json_object({', '.join(fields)}) FROM {table}", database):
                yield table, json.loads(row)

    def url(self, database, option=""):
        # Without grant tables any password would do; root has none.
        user = "second:sekret" if option else "root"
        return f"mysql://{user}@(127.0.0.1:{self.port})/{database}" + (f"?{option}" if option else "")

    def database(self, name=""):
        """The address of a new one."""
        name = name or f"vol{next(self.made)}"
        self.sql(f"CREATE DATABASE {name}; CREATE USER IF NOT EXISTS second IDENTIFIED BY 'sekret'; GRANT ALL ON {name}.* TO second")
        return self.url(name)


class Etcd(Server):
    """A prefix for each volume. Without syncing it is fast, and forgets when it is killed: it keeps its log in memory then."""

    def __init__(self, folder, syncs=False):
        super().__init__(folder)
        self.syncing = [] if syncs else ["--unsafe-no-fsync"]
        self.data, (self.port, self.peers) = os.path.join(folder, type(self).__name__), free_ports(2)
        self.made = itertools.count()
        self.start()

    def start(self):
        listen, peers = (f"http://127.0.0.1:{port}" for port in (self.port, self.peers))
        self.spawn("etcd", "--data-dir", self.data, *self.syncing, "--logger", "zap", "--log-level", "error", "--listen-client-urls", listen, "--advertise-client-urls", listen,
                   "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}")

    def post(self, path, body):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            c.request("POST", f"/v3/{path}", json.dumps(body))
            return json.load(c.getresponse())
        finally:
            c.close()

    def answers(self):
        try:
            return "header" in self.post("kv/range", {"key": "YQ=="})
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def url(self, name, option=""):
        return f"etcd://{'second:sekret@' if option else ''}127.0.0.1:{self.port}/{name}{'.second' if option else ''}"

    def database(self, name=""):
        """The address of a new one."""
        return self.url(name or f"vol{next(self.made)}")

    def tables(self, name):
        """There are none."""
        return []

    def rows(self, name):
        """Every key below the prefix, and its value."""
        prefix = f"/{name}".encode() + b"\xfd"
        body = {"key": base64.b64encode(prefix).decode(), "range_end": base64.b64encode(prefix[:-1] + b"\xfe").decode()}
        for kv in self.post("kv/range", body).get("kvs", []):
            yield base64.b64decode(kv["key"])[len(prefix):], base64.b64decode(kv.get("value", ""))


class S3(Server):
    """seaweedfs: real signatures, ranges, listings."""

    access_key, secret_key = "ACCESSKEY0", "secretkey0"

    def __init__(self, folder):
        super().__init__(folder)
        self.data = os.path.join(folder, "weed")
        os.makedirs(self.data)
        config = os.path.join(folder, "s3.json")
        with open(config, "w") as f:
            json.dump({"identities": [{"name": "t", "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
                                       "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]}, f)
        # Its defaults are the HTTP port + 10000, which may not exist, and fixed ports, which others may have.
        roles = ["master", "volume", "filer", "s3"]
        self.ports = free_ports(2 * len(roles))
        self.port = self.ports[6]
        listen = [f"-{role}.port{kind}={self.ports[2 * n + m]}" for n, role in enumerate(roles) for m, kind in enumerate(["", ".grpc"])]
        self.command = [os.environ["WEED"], "server", f"-dir={self.data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *listen,
                        "-filer", "-s3", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=60",
                        "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
        self.start()

    def start(self):
        self.spawn(*self.command)

    def answers(self):
        """A bucket listing that is refused for its missing signature: the filer answers."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            c.request("GET", "/")
            return c.getresponse().status in (200, 403)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            c.close()

    def stop(self, sig=signal.SIGTERM):
        super().stop(sig)
        for port in self.ports:
            for left in glob.glob(f"/tmp/seaweedfs-*-{port}.sock"):
                os.unlink(left)

    def bucket(self, name, port=None):
        return f"http://127.0.0.1:{port or self.port}/{name}"


class Scratch:
    """A folder below /tmp; what is mounted in it is unmounted before it goes."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="juicefs-e2e.")
        return self.path

    def __exit__(self, *_):
        for line in reversed(open("/proc/self/mountinfo").readlines()):
            where = line.split()[4]
            if where.startswith(self.path):
                device = line.split()[2].split(":")[1]
                abort = f"/sys/fs/fuse/connections/{device}/abort"
                subprocess.run(["umount", where], capture_output=True, timeout=30)
                if os.path.ismount(where) and os.path.exists(abort):
                    open(abort, "w").write("1")
                    subprocess.run(["umount", "-l", where], capture_output=True)
        shutil.rmtree(self.path, ignore_errors=True)


class StoreServer(Server):
    """A server in the place of a store's; `storage`, `bucket` and keys as `format` takes them, `env` for both clients."""

    access_key = secret_key = ""
    env = {}

    def __init__(self, folder, name):
        super().__init__(folder)
        self.folder, self.port = os.path.join(folder, type(self).__name__), free_ports(1)[0]
        self.address, self.cache = f"127.0.0.1:{self.port}", os.path.dirname(os.path.dirname(os.path.dirname(os.environ["WEED"])))
        os.makedirs(self.folder)
        self.start()
        self.make(name)

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def make(self, name):
        """Makes the bucket."""

    def rclone(self, *command):
        subprocess.run([os.path.join(self.cache, "venv", "bin", "rclone"), "--config", "", *command], check=True, capture_output=True)


class Azurite(StoreServer):
    storage, account = "wasb", "devstoreaccount1"
    # Published with the emulator.
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def start(self):
        self.spawn(os.path.join(self.cache, "azurite/node_modules/.bin/azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", str(self.port),
                   "--location", self.folder, "--skipApiVersionCheck", "--disableTelemetry", "--silent")

    def make(self, name):
        self.bucket, endpoint = f"http://{name}", f"http://{self.address}/{self.account}"
        self.env = {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};BlobEndpoint={endpoint};"}
        self.rclone("mkdir", f":azureblob:{name}", "--azureblob-account", self.account, "--azureblob-key", self.key, "--azureblob-endpoint", endpoint)


class FakeGcs(StoreServer):
    storage = "gs"

    def start(self):
        self.spawn(os.path.join(self.cache, "bin/fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port), "-backend", "memory",
                   "-public-host", self.address, "-external-url", f"http://{self.address}")

    def make(self, name):
        self.bucket, self.env = f"gs://{name}", {"STORAGE_EMULATOR_HOST": f"http://{self.address}"}
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        c.request("POST", "/storage/v1/b?project=p", json.dumps({"name": name}), {"Content-Type": "application/json"})
        assert c.getresponse().status == 200
        c.close()


class WebDav(StoreServer):
    storage, access_key, secret_key = "webdav", "user", "password"

    def start(self):
        self.bucket = f"http://{self.address}/"
        self.spawn(os.path.join(self.cache, "venv/bin/rclone"), "serve", "webdav", "--addr", self.address, "--config", "", "--user", self.access_key, "--pass", self.secret_key, self.folder)


class Sftp(StoreServer):
    storage, access_key, secret_key = "sftp", "user", "password"

    def start(self):
        self.bucket = f"{self.address}:/"
        self.spawn(os.path.join(self.cache, "venv/bin/rclone"), "serve", "sftp", "--addr", self.address, "--config", "", "--user", self.access_key, "--pass", self.secret_key, self.folder)
