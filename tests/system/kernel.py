# SPDX-License-Identifier: Apache-2.0
"""The kernel's own word on BPF programs and maps: how often one ran, what one holds. Asked by the bpf system call itself, since a descriptor
keeps a program readable after the agent that loaded it is gone, and statistics end with the descriptor that began them."""
import ctypes
import glob
import os
import re
import struct

BPF_MAP_LOOKUP_ELEM, BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_ENABLE_STATS = 1, 13, 14, 15, 32
INFO_NAME, INFO_RUN_COUNT = 64, 200  # offsets in struct bpf_prog_info (linux/bpf.h)
MAP_VALUE_SIZE, MAP_NAME = 12, 24  # in struct bpf_map_info
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


class Object:
    def __init__(self, fd):
        self.fd = fd

    def info(self):
        raw = ctypes.create_string_buffer(256)
        bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("IIQ", self.fd, len(raw), ctypes.addressof(raw)))
        return raw.raw

    def name(self):
        return self.info()[self.NAME:self.NAME + 16].split(b"\0")[0].decode()

    def close(self):
        os.close(self.fd)


class Program(Object):
    KEY, BY_ID, NAME = "prog_id", BPF_PROG_GET_FD_BY_ID, INFO_NAME

    def runs(self):
        return struct.unpack_from("Q", self.info(), INFO_RUN_COUNT)[0]


class Map(Object):
    KEY, BY_ID, NAME = "map_id", BPF_MAP_GET_FD_BY_ID, MAP_NAME

    def values(self, key=0):
        """Of a per-CPU array: the value of each CPU."""
        size = struct.unpack_from("I", self.info(), MAP_VALUE_SIZE)[0] + 7 & ~7
        cpus = int(open("/sys/devices/system/cpu/possible").read().strip().rsplit("-", 1)[-1]) + 1
        index, raw = ctypes.create_string_buffer(struct.pack("I", key)), ctypes.create_string_buffer(size * cpus)
        bpf(BPF_MAP_LOOKUP_ELEM, struct.pack("IIQQQ", self.fd, 0, ctypes.addressof(index), ctypes.addressof(raw), 0))
        return [raw.raw[size * cpu:size * (cpu + 1)] for cpu in range(cpus)]

    def has(self, key):
        try:
            return bool(self.values(key))
        except FileNotFoundError:
            return False


def find(kind, pid, name):
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        try:
            number = re.search(rf"^{kind.KEY}:\s*(\d+)$", open(path).read(), re.M)
            found = number and kind(bpf(kind.BY_ID, struct.pack("I", int(number.group(1))))[0])
        except FileNotFoundError:
            continue
        if found and found.name() == name:
            return found
        if found:
            found.close()
    return None


def program_of(pid, name):
    """The program of that name which a process holds, or None."""
    return find(Program, pid, name)


def map_of(pid, name):
    """The map of that name, cut at 15 characters, which a process holds, or None."""
    return find(Map, pid, name)
