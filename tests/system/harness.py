# SPDX-License-Identifier: Apache-2.0
"""What every system test shares: an agent on a free loopback port, workloads, readers of its answers, and the lines
that tests/run counts (`ok NAME`, `not ok NAME: why`, `skip NAME: why`)."""
import concurrent.futures
import contextlib
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
B = os.path.abspath(os.environ.get("B", f"{ROOT}/build"))
WICK = f"{B}/wick"
WORKLOADS = f"{ROOT}/tests/workloads"
SHORT = bool(os.environ.get("WICK_TEST_SHORT"))


def case(name, good, why=""):
    text = str(why).replace("\n", " | ")
    print(f"ok {name}\n" if good else f"not ok {name}: {text}\n", end="", flush=True)  # whole, from any thread
    return bool(good)


def skip(name, why):
    print(f"skip {name}: {why}\n", end="", flush=True)


def need_root():
    if os.geteuid():
        skip(os.path.basename(sys.argv[0]), "needs root")
        sys.exit(0)


def beside_each_other(tests):
    """Runs name -> function, so many at a time as there are processors; one that throws is a failed case."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(test): name for name, test in tests.items()}
        for one in concurrent.futures.as_completed(running):
            if one.exception():
                case(running[one], False, repr(one.exception()))


def main(*tests):
    """Runs the functions; one that throws is a failed case of its own name."""
    need_root()
    for test in tests:
        try:
            test()
        except Exception:
            case(test.__name__, False, traceback.format_exc()[-1500:])
    sys.exit(0)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, seconds, step=0.05):
    """Waits for what() to be true; its last value."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


class Agent:
    """`with Agent("--profile.frequency", "999") as agent:`"""

    def __init__(self, *options, environment=None, wrapper=()):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.argv = [*wrapper, WICK, "run", "--web.listen-address", self.address, *options]
        self.environment = environment

    def __enter__(self):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.begin = time.monotonic()
        self.process = subprocess.Popen(self.argv, stderr=self.log, env=self.environment)
        self.pid = self.process.pid
        # test_start judges how long it takes; here a busy machine only must not be taken for a broken agent
        until(lambda: self.process.poll() is not None or self.answers("/-/ready"), 60)
        if self.process.poll() is not None or not self.answers("/-/ready"):
            self.process.kill()
            self.process.wait()
            raise RuntimeError("the agent did not get ready: " + self.text_of_log())
        self.ready_after = time.monotonic() - self.begin
        return self

    def text_of_log(self):
        return open(self.log.name).read()[-3000:]

    def answers(self, path):
        try:
            return self.get(path, 1) is not None
        except OSError:
            return False

    def request(self, path, timeout=60, headers=None):
        """(status, headers, body)"""
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def get(self, path, timeout=60):
        return urllib.request.urlopen(self.url + path, timeout=timeout).read().decode()

    def metrics(self):
        return Metrics(self.get("/metrics"))

    def folded(self, query):
        return folded(self.get(f"/api/v1/query?format=folded&{query}", 90))

    def stop(self, number=signal.SIGINT):
        """Exit status, and how long it took."""
        begin = time.monotonic()
        self.process.send_signal(number)
        try:
            return self.process.wait(15), time.monotonic() - begin
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None, 15

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


def opened_during(agent, work):
    """What the agent opens while work() runs, as strace tells it; what work() gave."""
    with tempfile.NamedTemporaryFile("r") as log:
        trace = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=openat,openat2,open", "-o", log.name, "-p",
                                  str(agent.pid)], stderr=subprocess.DEVNULL)
        until(lambda: os.readlink(f"/proc/{trace.pid}/exe").endswith("strace") and
              "TracerPid:\t0\n" not in open(f"/proc/{agent.pid}/status").read(), 10)
        gave = work()
        trace.send_signal(signal.SIGINT)
        trace.wait(10)
        return log.read().splitlines(), gave


class Metrics:
    def __init__(self, text):
        self.text = text

    def all(self, name):
        """[(labels, value)]"""
        found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", self.text, re.M)
        return [(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)) for labels, value in found]

    def sum(self, name, **labels):
        return sum(value for has, value in self.all(name) if all(has.get(k) == v for k, v in labels.items()))

    def accounts(self):
        """taken, stored, lost, pending"""
        return (self.sum("wick_samples_taken_total"), self.sum("wick_samples_stored_total"),
                self.sum("wick_samples_lost_total"), self.sum("wick_samples_pending"))


class Scraper(threading.Thread):
    """What Prometheus does, only more often: how long each scrape took, and whether its account adds up."""

    def __init__(self, agent, every=0.2):
        super().__init__(daemon=True)
        self.agent, self.every, self.took, self.wrong = agent, every, [], []
        self.over = threading.Event()

    def run(self):
        with contextlib.suppress(OSError):  # what is measured is the agent's delay, not this thread's
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        while not self.over.is_set():
            begin = time.monotonic()
            try:
                metrics = self.agent.metrics()
                self.took.append(time.monotonic() - begin)
                taken, stored, lost, pending = metrics.accounts()
                if taken != stored + lost + pending:
                    self.wrong.append((taken, stored, lost, pending))
            except OSError as error:
                self.wrong.append(repr(error))
            self.over.wait(max(0, begin + self.every - time.monotonic()))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def folded(text):
    """[(labels-and-frames list root first, count)]; the first element is the leading label."""
    out = []
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack:
            out.append((stack.split(";"), int(count)))
    return out


OUTERMOST = re.compile(r"^(_start|_start_\w+|_{0,2}clone3?|_dl_start_user|_rt0_\w+|start_thread|thread_start|"
                       r"_dl_start|__libc_start_call_main|ret_from_fork\w*)$")


def is_whole(frames):
    """Judged by the outermost frame alone."""
    return bool(frames) and bool(OUTERMOST.match(frames[0].split("@")[0]))


def build(name, *command):
    """Builds a workload once; its path."""
    folder = f"{B}/workloads"
    os.makedirs(folder, exist_ok=True)
    path = f"{folder}/{name}"
    subprocess.run([part.replace("@out", path).replace("@dir", folder) for part in command], check=True, cwd=WORKLOADS)
    return path


def split(compiler="gcc", name="split", *flags):
    """The split workload and its library."""
    build("libsplit.so", "gcc", "-O2", "-g", "-fomit-frame-pointer", "-fPIC", "-shared", "split_lib.c", "-o", "@out")
    return build(name, compiler, "-O2", "-g", "-fomit-frame-pointer", "split.c", "-o", "@out", "-L@dir", "-lsplit",
                 "-Wl,-rpath,@dir", *flags)


def workload(argv, **keywords):
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, **keywords)


def truth(process, timeout=120):
    """What a workload said at its end."""
    said = process.communicate(timeout=timeout)[0].strip().splitlines()
    if not said:
        raise RuntimeError(f"{process.args[0]} ended with {process.returncode} and said nothing")
    return json.loads(said[-1])


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shares(stacks, names):
    """Inclusive share of each name over all stacks."""
    total = sum(count for _, count in stacks) or 1
    return {name: sum(count for frames, count in stacks if any(name in f for f in frames)) / total for name in names}


def read_pprof(data):
    """A minimal reader of the pprof message: (samples, locations, functions, mappings, strings)."""
    raw = gzip.decompress(data)
    out = {"sample": [], "mapping": {}, "location": {}, "function": {}, "string": [], "sample_type": [], "scalar": {}}

    def fields(buffer):
        at = 0
        while at < len(buffer):
            key, at = varint(buffer, at)
            number, kind = key >> 3, key & 7
            if kind == 0:
                value, at = varint(buffer, at)
            elif kind == 2:
                size, at = varint(buffer, at)
                value, at = buffer[at:at + size], at + size
            else:
                raise ValueError("wire type")
            yield number, value

    def varint(buffer, at):
        value = shift = 0
        while True:
            byte = buffer[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value, at

    def packed(value):
        if isinstance(value, int):
            return [value]
        numbers, at = [], 0
        while at < len(value):
            number, at = varint(value, at)
            numbers.append(number)
        return numbers

    for number, value in fields(raw):
        if number == 6:
            out["string"].append(value.decode("utf-8"))
        elif number == 2:
            sample = {"location": [], "value": [], "label": []}
            for n, v in fields(value):
                if n == 1:
                    sample["location"] += packed(v)
                elif n == 2:
                    sample["value"] += packed(v)
                elif n == 3:
                    sample["label"].append(dict(fields(v)))
            out["sample"].append(sample)
        elif number == 3:
            m = dict(fields(value))
            out["mapping"][m[1]] = m
        elif number == 4:
            location = {"line": []}
            for n, v in fields(value):
                if n == 4:
                    location["line"].append(dict(fields(v)))
                else:
                    location[n] = v
            out["location"][location[1]] = location
        elif number == 5:
            f = dict(fields(value))
            out["function"][f[1]] = f
        elif isinstance(value, int):
            out["scalar"][number] = value
    return out


def pprof_stacks(profile):
    """[(frames leaf first: [(name, file, line, inlined)], labels, count)]"""
    strings = profile["string"]
    out = []
    for sample in profile["sample"]:
        frames = []
        for number in sample["location"]:
            lines = profile["location"][number]["line"]
            for i, line in enumerate(lines):
                function = profile["function"][line[1]]
                frames.append((strings[function.get(2, 0)], strings[function.get(4, 0)], line.get(2, 0),
                               i < len(lines) - 1))
        labels = {strings[label[1]]: strings[label[2]] if 2 in label else label.get(3, 0) for label in sample["label"]}
        out.append((frames, labels, sample["value"][0]))
    return out
