# SPDX-License-Identifier: Apache-2.0
"""The kernel's own word on BPF programs: how often one ran. Asked by the bpf system call itself, since a descriptor
keeps a program readable after the agent that loaded it is gone, and statistics end with the descriptor that began them."""
import ctypes
import glob
import os
import re
import struct

BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_ENABLE_STATS = 13, 15, 32
INFO_NAME, INFO_RUN_COUNT = 64, 200  # offsets in struct bpf_prog_info (linux/bpf.h)
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, data):
    """(result, attr as the kernel left it)"""
    attr = ctypes.create_string_buffer(data, max(len(data), 64))
    result = libc.syscall(321, command, ctypes.byref(attr), len(attr))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result, attr.raw


class Statistics:
    """Run counts are kept while one of these is open."""

    def __enter__(self):
        self.fd = bpf(BPF_ENABLE_STATS, struct.pack("I", 0))[0]
        return self

    def __exit__(self, *_):
        os.close(self.fd)


class Program:
    def __init__(self, fd):
        self.fd = fd

    def info(self):
        raw = ctypes.create_string_buffer(256)
        bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("IIQ", self.fd, len(raw), ctypes.addressof(raw)))
        return raw.raw

    def name(self):
        return self.info()[INFO_NAME:INFO_NAME + 16].split(b"\0")[0].decode()

    def runs(self):
        return struct.unpack_from("Q", self.info(), INFO_RUN_COUNT)[0]

    def close(self):
        os.close(self.fd)


def program_of(pid, name):
    """The program of that name which a process holds, or None."""
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        try:
            number = re.search(r"^prog_id:\s*(\d+)$", open(path).read(), re.M)
            program = number and Program(bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("I", int(number.group(1))))[0])
        except FileNotFoundError:
            continue
        if program and program.name() == name:
            return program
        if program:
            program.close()
    return None
