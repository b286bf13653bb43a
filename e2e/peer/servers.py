"""Servers of a test's own: free loopback ports, a folder that goes, ended with the test."""
import json, os, shutil, signal, socket, subprocess, tempfile, time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, seconds=40):
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody listens on {port}")
            time.sleep(0.05)


class Server:
    def __init__(self, folder):
        self.folder, self.process = folder, None

    def spawn(self, *command):
        log = open(os.path.join(self.folder, type(self).__name__ + ".log"), "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

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
        self.port, self.options = port or free_port(), options
        self.start()

    def start(self):
        self.spawn("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
                   "--appendonly", "yes", "--appendfsync", "always", "--save", "", *self.options)
        wait_for_port(self.port)
        deadline = time.monotonic() + 20
        while subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True).stdout.strip() not in (b"PONG", b"NOAUTH Authentication required."):
            assert time.monotonic() < deadline, "redis does not answer"
            time.sleep(0.05)

    def url(self, db=1, port=None):
        return f"redis://127.0.0.1:{port or self.port}/{db}"


class S3(Server):
    """seaweedfs: real signatures, ranges, listings."""

    access_key, secret_key = "ACCESSKEY0", "secretkey0"

    def __init__(self, folder):
        super().__init__(folder)
        self.port = free_port()
        self.data = os.path.join(folder, "weed")
        os.makedirs(self.data)
        config = os.path.join(folder, "s3.json")
        with open(config, "w") as f:
            json.dump({"identities": [{"name": "t", "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
                                       "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]}, f)
        # Every port by hand: the others would be ports + 10000, past the last one there is, or the same for all.
        ports = [f"-{name}={free_port()}" for part in ("master", "volume", "filer") for name in (f"{part}.port", f"{part}.port.grpc")]
        self.command = [os.environ["WEED"], "server", f"-dir={self.data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", *ports,
                        "-s3", f"-s3.port={self.port}", f"-s3.port.grpc={free_port()}", "-s3.port.iceberg=0", "-s3.port.lance=0",
                        f"-s3.config={config}", "-volume.max=60", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
        self.start()

    def start(self):
        self.spawn(*self.command)
        wait_for_port(self.port)
        import http.client
        deadline = time.monotonic() + 60
        while True:  # a bucket listing that is refused for its missing signature means the filer answers
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
                c.request("GET", "/")
                if c.getresponse().status in (200, 403):
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.2)

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
