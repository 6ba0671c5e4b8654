# SPDX-License-Identifier: Apache-2.0
"""The verifier's work against tests/bpf/verifier_budget: what grows past it is found here, not by a kernel that refuses."""
from harness import ROOT

BUDGET = f"{ROOT}/tests/bpf/verifier_budget"


def budget():
    lines = [line.split() for line in open(BUDGET) if line.strip() and not line.startswith("#")]
    return {program: int(most) for program, most in lines}


def over_budget(metrics):
    """What is wrong with an agent's programs, empty: nothing."""
    most, wrong = budget(), []
    walked = {labels["program"]: value for labels, value in metrics.all("wick_bpf_verified_instructions")}
    for program in sorted(most.keys() | walked.keys()):
        if program not in walked:
            wrong.append(f"{program} is not loaded")
        elif program not in most:
            wrong.append(f"{program} has no budget and took {walked[program]:.0f}")
        elif not 0 < walked[program] <= most[program]:
            wrong.append(f"{program} took {walked[program]:.0f} of {most[program]}")
    return wrong


def told(metrics):
    return ", ".join(f"{labels['program']} {value:.0f}" for labels, value in metrics.all("wick_bpf_verified_instructions"))
