# SPDX-License-Identifier: Apache-2.0
"""What the benchmark measures with: programs started in a cgroup of their own, whose CPU time is then exact however
many children came and went, the kernel's statistics of BPF programs, and the programs of tests/bench."""
import contextlib
import ctypes
import glob
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/system"))
import kernel  # noqa: E402

B = os.path.abspath(os.environ.get("B", "build"))
BUILD = f"{B}/bench"
ADDRESS = "127.0.0.1:9751"


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("bench: waited in vain")
        time.sleep(0.05)


def megabytes(resident, maps):
    return f"{resident:.1f} + {maps:.1f} MiB"


def cgroup_mount():
    """Where CPU time is accounted: (folder, file, unit in seconds)."""
    mounts = [line.split()[1:4] for line in open("/proc/mounts")]
    for folder, kind, options in mounts:
        if kind == "cgroup" and "cpuacct" in options.split(","):
            return folder, "cpuacct.usage", 1e-9
    for folder, kind, _ in mounts:
        if kind == "cgroup2":
            return folder, "cpu.stat", 1e-6
    raise RuntimeError("bench: no cgroup hierarchy accounts CPU time")


class Child:
    """A program in a cgroup of its own."""

    made = 0

    def __init__(self, argv, **options):
        mount, self.usage, self.unit = cgroup_mount()
        Child.made += 1
        self.folder = f"{mount}/wick-bench-{os.getpid()}-{Child.made}"
        os.mkdir(self.folder)
        procs = f"{self.folder}/cgroup.procs"
        options.setdefault("stdout", subprocess.DEVNULL)
        # The shell moves itself, then becomes the program.
        self.process = subprocess.Popen(["sh", "-c", f"echo $$ > {procs}; exec {shlex.join(argv)}"],
                                        stderr=subprocess.DEVNULL, **options)

    def cpu(self):
        text = open(f"{self.folder}/{self.usage}").read()
        found = re.search(r"usage_usec (\d+)", text)
        return int(found.group(1) if found else text) * self.unit

    def pids(self):
        return [int(line) for line in open(f"{self.folder}/cgroup.procs")]

    def samples(self):
        return 0

    def cpu_over(self, seconds):
        """(share of a core, samples taken) over that time."""
        samples, cpu, begin = self.samples(), self.cpu(), time.monotonic()
        time.sleep(seconds)
        cpu, spent = self.cpu() - cpu, time.monotonic() - begin
        return cpu / spent, self.samples() - samples

    @staticmethod
    def map_ids(pid):
        """id -> bytes of the BPF maps that a process holds open."""
        maps = {}
        with contextlib.suppress(OSError):  # it ended meanwhile
            for fd in os.listdir(f"/proc/{pid}/fdinfo"):
                with contextlib.suppress(FileNotFoundError):  # only that was closed
                    text = open(f"/proc/{pid}/fdinfo/{fd}").read()
                    number = re.search(r"^map_id:\s+(\d+)", text, re.M)
                    if number:
                        maps[number.group(1)] = int(re.search(r"^memlock:\s+(\d+)", text, re.M).group(1))
        return maps

    def program(self):
        """Id of its sampling program, once it is attached; None: not yet."""
        for pid in self.pids():
            for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
                with contextlib.suppress(OSError):
                    number = re.search(r"^prog_id:\s+(\d+)", open(path).read(), re.M)
                    if number and int(number.group(1)) in perf_programs():
                        return int(number.group(1))
        return None

    def map_bytes(self):
        maps = {}
        for pid in self.pids():
            maps.update(self.map_ids(pid))
        return sum(maps.values())

    def memory(self):
        """MiB: proportional set of all its processes, maps."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError, AttributeError):
                total += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M).group(1))
        return total / 1024, self.map_bytes() / 2**20

    def close(self):
        if self.process.poll() is None:
            self.process.kill()  # naming its stacks at its end is not what is measured
        self.process.wait()
        for _ in range(100):
            with contextlib.suppress(OSError):
                os.rmdir(self.folder)
                return
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


DURATION_FIRST_BITS, DURATION_LAST_BITS, DURATION_STEP_BITS = 7, 21, 3  # include/abi/duration.h
DURATION_BUCKETS = (DURATION_LAST_BITS - DURATION_FIRST_BITS << DURATION_STEP_BITS) + 2
DURATION_OFFSET = 5 * 8  # of `runs` in struct sample_counters, include/abi/knobs.h


class Durations:
    """How long runs of the handler took, by the kernel's own buckets; percentiles in ns are right to 12 %."""

    def __init__(self, counts):
        self.counts = counts

    def __sub__(self, earlier):
        return Durations([now - then for now, then in zip(self.counts, earlier.counts)])

    def __add__(self, other):
        return Durations([a + b for a, b in zip(self.counts, other.counts)])

    @staticmethod
    def bound(bucket):
        octave, step = divmod(bucket - 1, 1 << DURATION_STEP_BITS)
        return (1 << DURATION_FIRST_BITS + octave) + (step + 1 << DURATION_FIRST_BITS + octave >> DURATION_STEP_BITS)

    def percentile(self, share):
        wanted, seen = share * sum(self.counts), 0
        for bucket, count in enumerate(self.counts):
            if count and seen + count >= wanted:
                low, high = (self.bound(bucket - 1) if bucket else 0), self.bound(bucket)
                return low + (high - low) * (wanted - seen) / count
            seen += count
        return 0.0


class Agent(Child):
    def __init__(self, *options):
        begin = time.monotonic()
        super().__init__([f"{B}/wick", "run", "--web.listen-address", ADDRESS, "--log.level", "error", *options])
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() - begin > 20:
                self.close()
                raise RuntimeError("bench: the agent did not start")
            time.sleep(0.005)
        self.started = time.monotonic() - begin

    def is_ready(self):
        with contextlib.suppress(OSError):
            return self.get("/-/ready").startswith("")
        return False

    def get(self, path):
        return urllib.request.urlopen(f"http://{ADDRESS}{path}", timeout=10).read().decode()

    def metric(self, name):
        return sum(float(value) for value in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", self.get("/metrics"), re.M))

    def samples(self):
        return self.metric("wick_samples_taken_total")

    def durations(self):
        """Of all runs so far, from the kernel's map `counters`: /metrics has too few buckets for percentiles."""
        ids = {number for pid in self.pids() for number in self.map_ids(pid)}
        shown = [json.loads(subprocess.run(["bpftool", "map", "show", "id", number, "-j"], capture_output=True, text=True,
                                           check=True).stdout) for number in ids]
        number = next(str(one["id"]) for one in shown if one["name"] == "counters")
        dump = json.loads(subprocess.run(["bpftool", "map", "dump", "id", number, "-j"], capture_output=True, text=True,
                                         check=True).stdout)
        total = Durations([0] * DURATION_BUCKETS)
        for entry in dump:
            for cpu in entry["values"]:
                raw = bytes(int(byte, 16) for byte in cpu["value"])
                total += Durations(struct.unpack_from(f"{DURATION_BUCKETS}Q", raw, DURATION_OFFSET))
        return total

    def settle(self):
        """Until no image was added for 15 seconds and the symbolizers have had time to end of idleness."""
        seen, since, end = -1.0, time.monotonic(), time.monotonic() + 60  # other programs may start all the time
        while time.monotonic() < min(since + 15, end):
            images = self.metric("wick_images") + self.metric("wick_unwind_rows")
            if images != seen:
                seen, since = images, time.monotonic()
            time.sleep(1)
        time.sleep(35)  # the agent gives free memory back every 30 seconds

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        super().close()


@contextlib.contextmanager
def run_statistics():
    path = "/proc/sys/kernel/bpf_stats_enabled"
    with open(path) as file:
        old = file.read()
    with open(path, "w") as file:
        file.write("1")
    try:
        yield
    finally:
        with open(path, "w") as file:
            file.write(old)


def perf_programs():
    """id -> (runs, ns) of each perf_event program."""
    shown = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, text=True, check=True).stdout
    return {one["id"]: (one.get("run_cnt", 0), one.get("run_time_ns", 0))
            for one in json.loads(shown) if one.get("type") == "perf_event"}


@contextlib.contextmanager
def ticks(program, pids, hertz):
    """Runs a sampling program on the clock of some tasks as well: what else the machine does is then not measured."""
    attr = struct.pack("IIQQQQQ", 1, 136, 0, 10**9 // hertz, 0, 0, 0).ljust(136, b"\0")  # software, CPU_CLOCK
    set_bpf, perf_event_open = 0x40042408, 298
    events, fd = [], kernel.bpf(kernel.BPF_PROG_GET_FD_BY_ID, struct.pack("I", program))[0]
    try:
        for pid in pids:
            events.append(kernel.libc.syscall(perf_event_open, ctypes.create_string_buffer(attr), pid, -1, -1, 8))
            if events[-1] < 0 or kernel.libc.ioctl(events[-1], set_bpf, fd):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        yield
    finally:
        for one in events + [fd]:
            os.close(one)


def ns_per_run(before, later, child):
    """Of a child's sampling program, between two times that perf_programs was asked."""
    program = child.program()
    (runs, ns), (more_runs, more_ns) = before[program], later[program]
    if more_runs == runs:
        raise RuntimeError("bench: the sampling program did not run")
    return (more_ns - ns) / (more_runs - runs)


def compile_c(*argv):
    subprocess.run(["gcc", "-std=gnu11", "-O2", *argv], check=True, cwd=TOP)


def build():
    os.makedirs(BUILD, exist_ok=True)
    for name, flag in (("deep_fp", "-fno-omit-frame-pointer"), ("deep_nofp", "-fomit-frame-pointer")):
        compile_c("-g", "-fno-optimize-sibling-calls", flag, f"{HERE}/deep.c", "-o", f"{BUILD}/{name}")
    compile_c(f"{HERE}/modules.c", "-o", f"{BUILD}/modules", "-ldl")
    libraries = subprocess.run(["pkg-config", "--libs", "libelf", "libdw", "libzstd", "liblzma", "zlib"],
                               capture_output=True, text=True, check=True).stdout.split()
    wrap = "-Wl," + ",".join(f"--wrap={name}" for name in ("malloc", "calloc", "realloc", "reallocarray", "free"))
    compile_c(wrap, "-Iinclude", "-Iagent", "-I.", "-D_GNU_SOURCE", f"{HERE}/rows.c", f"{B}/libsymbolizer.a", f"{B}/libbase.a",
              *libraries, "-o", f"{BUILD}/rows")


def make_modules(folder, count):
    """Files of their own, each with a build-id of its own."""
    mark = hashlib.sha1(b"module").hexdigest()
    compile_c("-DMODULE", "-w", "-shared", "-fPIC", f"-Wl,--build-id=0x{mark}", f"{HERE}/modules.c", "-o", f"{folder}/0.so")
    with open(f"{folder}/0.so", "rb") as file:
        first = file.read()
    for number in range(1, count):
        with open(f"{folder}/{number}.so", "wb") as file:
            file.write(first.replace(bytes.fromhex(mark), hashlib.sha1(str(number).encode()).digest()))
        shutil.copymode(f"{folder}/0.so", f"{folder}/{number}.so")
