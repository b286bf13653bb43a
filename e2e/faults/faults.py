"""Faults under load, on real servers: Redis or the S3 server gone or silent for a while, the client killed or ended.
After each: every acknowledged write is there (durable.py), our fsck and the audit are clean. Cases of one lane share
its servers and run one after the other; lanes run side by side. Ends in "N passed, N failed".

faults.py [CASE...]: all, or those named."""
import os, signal, subprocess, sys, threading, time, traceback
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "peer")]
from cases import gone_20s, killed, redis_gone_120s, s3_gone_120s, silent_20s, terminated
from rig import Case, Results
from servers import Redis, S3, Scratch

LANES = [
    {"redis-gone-120s": redis_gone_120s},
    {"s3-gone-120s": s3_gone_120s, "kill9": killed, "sigterm": terminated},
    {
        "redis-gone-20s": gone_20s("redis"),
        "s3-gone-20s": gone_20s("s3"),
        "redis-silent-20s": silent_20s("redis"),
        "s3-silent-20s": silent_20s("s3"),
    },
]


class Servers:
    """A Redis and an S3 server; every case has a database and a volume of its own on them."""

    def __init__(self, folder):
        for place in ("first", "second"):
            os.makedirs(os.path.join(folder, place))
        self.redis, self.databases = Redis(folder), 0
        try:
            self.s3 = S3(os.path.join(folder, "first"))
        except RuntimeError as failure:
            # Somebody took one of its many ports between their choice and its start.
            print(f"      an S3 server starts again: {str(failure)[-200:]}", flush=True)
            self.s3 = S3(os.path.join(folder, "second"))

    def meta(self):
        self.databases += 1
        return self.redis.url(self.databases)

    def stop(self):
        for server in (self.redis, self.s3):
            if server.process:
                server.process.send_signal(signal.SIGCONT)
            server.stop()


def lane(number, cases, results, folder):
    servers = None
    try:
        servers = Servers(os.path.join(folder, f"servers{number}"))
        for name, run in cases.items():
            begun = time.monotonic()
            try:
                run(Case(name, results, folder), servers)
            except Exception:
                results.add(f"{name}: ran to its end", traceback.format_exc())
            print(f"      {name}: {time.monotonic() - begun:.0f} s", flush=True)
    except Exception:
        results.add(f"servers of lane {number}", traceback.format_exc())
    finally:
        if servers:
            servers.stop()


def main(wanted):
    results = Results()
    lanes = [{name: case for name, case in cases.items() if name in wanted or not wanted} for cases in LANES]
    with Scratch() as folder:
        threads = [threading.Thread(target=lane, args=(number, cases, results, folder)) for number, cases in enumerate(lanes) if cases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if results.failed and os.environ.get("FAULTS_KEEP"):
            subprocess.run(["cp", "-a", "--no-preserve=ownership", "--one-file-system", folder, os.environ["FAULTS_KEEP"]])
    print(f"{results.passed} passed, {len(results.failed)} failed")
    return 1 if results.failed or not results.passed else 0


sys.exit(main(sys.argv[1:]))
