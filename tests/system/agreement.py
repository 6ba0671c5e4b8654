# SPDX-License-Identifier: Apache-2.0
"""How often libunwind reads a program's stacks as the agent does: runs it beneath an agent that has every stack
compared. Shared by test_referee, which asks for a share, and tests/bench, which prints it."""
import collections
import os
import re
import shutil

import whole

OPTIONS = ("--profile.frequency", "199", "--debug.referee-interval", "1")
OUTCOMES = ("agree", "disagree", "short", "lost")
LEFT = "libunwind leaves before their root"


def comparisons(metrics):
    found = {outcome: metrics.sum("wick_unwind_comparisons_total", outcome=outcome) for outcome in OUTCOMES}
    found["root"] = metrics.sum("wick_unwind_comparisons_root_total")
    return collections.Counter({outcome: int(count) for outcome, count in found.items()})


def listed(status, title):
    """[(count, reason, address, binary)] of a list of /status."""
    part = status.partition(title)[2].partition("\n\n")[0]
    return [(int(count), reason, int(address, 16), binary)
            for count, reason, address, binary in re.findall(r"^ +(\d+)  (\w+) +0x(\w+) +(\S.*)$", part, re.M)]


def compared_of(status, program):
    """agree, disagree and to the root, of a program."""
    part = status.partition("Stacks compared, by program")[2].partition("\n\n")[0]
    found = re.search(rf"^ +(\d+) +(\d+) +(\d+)  {re.escape(program)}$", part, re.M)
    return collections.Counter(dict(zip(("agree", "disagree", "root"), map(int, found.groups()) if found else (0, 0, 0))))


class Agreement:
    def __init__(self, program, counts, left):
        """`left`: stacks of all programs that libunwind left before their root meanwhile, by reason."""
        self.program, self.left = program, left
        self.compared = counts["agree"] + counts["disagree"]
        self.share = counts["agree"] / self.compared if self.compared else 0
        self.root = counts["root"] / self.compared if self.compared else 0

    def __str__(self):
        rest = ", ".join(f"{count} × {reason}" for reason, count in self.left.most_common())
        return (f"{self.compared} compared, {self.share:.2%} alike, {self.root:.2%} to the root"
                f"{f' (libunwind ends, here or elsewhere: {rest})' if rest else ''}")


def state(agent, program):
    left, status = collections.Counter(), agent.get("/status")
    for count, reason, *_ in listed(status, LEFT):
        left[reason] += count
    return compared_of(status, os.path.realpath(shutil.which(program.argv[0]))), left


def measure(agent, program):
    counts, left = state(agent, program)
    whole.measure(agent, program)
    counts_after, left_after = state(agent, program)
    return Agreement(program, counts_after - counts, left_after - left)
