# SPDX-License-Identifier: Apache-2.0
"""How many stacks of a program are whole: runs it beneath an agent and judges each of its user stacks by the outermost
frame. Shared by test_whole, which asks for a share, and tests/bench, which prints it with what the rest is due to."""
import collections
import concurrent.futures
import contextlib
import os
import subprocess
import time

from harness import B, cpu_seconds, read_pprof, until

FREQUENCY = 499
YOUNG = 2  # seconds left out at the begin: the first one, and what a slice of the store reaches back;
BEGUN = 1  # longer where others leave it so little of a processor that it was not given this much of one by then
DYING = 1  # and at the end: a process that is killed has no stack any more while its memory is given back
AT_MOST = 60  # seconds a program may take


class Result:
    """Samples of a program, those that were whole, and [(count, reason, binary, address, function)] of the rest."""

    def __init__(self, program, data, status, cpu):
        """`data`: a profile in the pprof format of a time in which it was given `cpu` seconds."""
        self.program, self.status, self.cpu, self.total = program, status, cpu, 0
        profile, broken = read_pprof(data), collections.Counter()
        for sample in profile["sample"]:
            function, binary, address, marker = outermost(profile, sample)
            self.total += sample["value"][0]
            if marker or not program.is_root(function, binary, address):
                broken[marker or "ends early", binary, address, function] += sample["value"][0]
        self.broken = [(count, *what) for what, count in broken.most_common()]
        self.whole = self.total - sum(broken.values())
        self.share = self.whole / self.total if self.total else 0

    def worst(self, count=6):
        return "; ".join(f"{n} × {reason} at {os.path.basename(binary)}+{address:#x} ({function})"
                         for n, reason, binary, address, function in self.broken[:count])


def outermost(profile, sample):
    """(function, binary, address, marker or "") of the last frame that is code, in a sample read by read_pprof."""
    strings, marker = profile["string"], ""
    for number in reversed(sample["location"]):
        location = profile["location"][number]
        function = strings[profile["function"][location["line"][-1][1]].get(2, 0)]
        if not function.startswith("["):
            mapping = profile["mapping"].get(location.get(2), {})
            return function, strings[mapping.get(5, 0)], location.get(3, 0), marker
        marker = marker or function.strip("[]").removeprefix("truncated: ")
    return "", "", 0, marker


def run(program):
    """(pid, from, to, CPU seconds between the two, status): it runs until it was given its CPU time, or ends, or has
    had AT_MOST seconds."""
    spent = []  # (when, CPU seconds until then)
    with open(program.source or os.devnull) as file, contextlib.ExitStack() as stack:
        begin = time.time()
        process = subprocess.Popen(program.argv, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env=program.environment, cwd=f"{B}/workloads")  # where node leaves its log
        if program.pest:
            stack.callback(subprocess.Popen([*program.pest, str(process.pid)]).wait)

        def is_done():
            with contextlib.suppress(OSError, IndexError):  # it is gone
                spent.append((time.time(), cpu_seconds(process.pid)))
            if process.poll() is not None:
                return True
            old = time.time() - begin > YOUNG + DYING + 2
            return program.cpu and old and spent[-1][1] >= program.cpu + BEGUN
        until(is_done, AT_MOST, 0.2)
        begun = next((when for when, cpu in spent if cpu >= BEGUN), begin)
        first, last, status = max(begin + YOUNG, begun + 1), time.time() - DYING, process.poll()
        process.kill()
        process.wait()
    inside = [cpu for when, cpu in spent if first <= when <= last]
    return process.pid, first, last, inside[-1] - inside[0] if inside else 0, status


def measure(agent, program):
    pid, first, last, cpu, status = run(program)
    time.sleep(2.2)  # the last second's slice is stored with the next flip
    data = agent.request(f"/debug/pprof/profile?from={first:.3f}&to={last:.3f}&pid={pid}", 60)[2]
    return Result(program, data, status, cpu)


def measure_all(agent, programs, beside):
    """Yields (program, Result or the exception that was met), as they end; so many run beside each other."""
    with concurrent.futures.ThreadPoolExecutor(beside) as pool:
        running = {pool.submit(measure, agent, program): program for program in programs}
        for one in concurrent.futures.as_completed(running):
            yield running[one], one.exception() or one.result()
