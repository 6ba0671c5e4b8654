# SPDX-License-Identifier: Apache-2.0
"""Programs that run and whose files are traps for whoever reads them: debug information that overflows a stack, debug
links that lead to a FIFO or to /etc/shadow, frame tables that lie. Each works in hostile_spin."""
import os
import random
import struct
import subprocess

# a tenth of a CPU each, so that a dozen of them leave room
SOURCE = """
static const long pause_s_ns[2] = { 0, 50000000 };
void hostile_spin(void) { for (volatile long i = 0; i < 3000000; i++) ; }
static void pause_ns(void)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(35), "D"(pause_s_ns), "S"(0) : "rcx", "r11", "memory");
}
void _start(void) { for (;;) { hostile_spin(); pause_ns(); } }
"""
# an .eh_frame of our own making: as data first, the linker would look into it
FRAMES = 'asm(".section frames,\\"a\\"\\n.balign 8\\n.incbin \\"%s\\"\\n.text");\n'


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def program(path, frames=None):
    """A static program of about 1 KB, its unwind table replaced by `frames`."""
    source = SOURCE
    if frames is not None:
        with open(f"{path}.frames", "wb") as file:
            file.write(frames)
        source += FRAMES % f"{path}.frames"
    with open(f"{path}.c", "w") as file:
        file.write(source)
    unwind = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"] if frames is not None else []
    run("gcc", "-O1", "-fno-inline", "-static", "-nostdlib", "-no-pie", "-fno-pie", "-fno-stack-protector", *unwind,
        "-fcf-protection=none", "-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-o", path, f"{path}.c")
    if frames is not None:
        run("objcopy", "--rename-section", "frames=.eh_frame", path)
        os.unlink(f"{path}.frames")
    os.unlink(f"{path}.c")
    return path


def add_section(path, name, content, *options):
    with open(f"{path}.section", "wb") as file:
        file.write(content)
    run("objcopy", "--add-section", f"{name}={path}.section", *options, path)
    os.unlink(f"{path}.section")


def text_of(path):
    """Address and size of .text."""
    for line in run("readelf", "-SW", path).splitlines():
        words = line.replace("[ ", "[").split()
        if len(words) > 5 and words[1] == ".text":
            return int(words[3], 16), int(words[5], 16)
    raise RuntimeError("no .text")


def nested(path, depth=150000):
    """5 KB that inflate to nested lexical blocks, all of which contain every pc: whoever follows them by
    recursion runs out of stack."""
    program(path)
    begin, size = text_of(path)
    has_range = bytes([0x11, 0x01, 0x12, 0x06])  # low_pc addr, high_pc data4
    abbreviations = bytes([1, 0x11, 1, 0x13, 0x0b, 0x10, 0x17]) + has_range + bytes([0, 0])
    abbreviations += bytes([2, 0x2e, 1, 0x03, 0x08]) + has_range + bytes([0, 0])
    abbreviations += bytes([3, 0x0b, 1]) + has_range + bytes([0, 0, 0])
    place = struct.pack("<QI", begin, size)
    body = bytes([1, 12]) + struct.pack("<I", 0) + place + bytes([2]) + b"deep_spin\0" + place
    body += (bytes([3]) + place) * depth + bytes(depth + 2)
    header = struct.pack("<HIB", 4, 0, 8)
    add_section(path, ".debug_abbrev", abbreviations)
    add_section(path, ".debug_aranges", struct.pack("<IHIBBIQQQQ", 44, 2, 0, 8, 0, 0, begin, size, 0, 0))
    add_section(path, ".debug_line", bytes(4))
    add_section(path, ".debug_info", struct.pack("<I", len(header) + len(body)) + header + body)
    run("objcopy", "--compress-debug-sections=zlib", path)
    return path


def link(path, name):
    """A debug link to a name of any kind."""
    text = name.encode() + b"\0"
    add_section(program(path), ".gnu_debuglink", text + bytes(-len(text) % 4) + struct.pack("<I", 0x12345678))
    return path


def entry(identity, body, length=None):
    """A CIE (identity 0) or FDE, padded with DW_CFA_nop."""
    body = struct.pack("<I", identity) + body
    body += bytes(-(len(body) + 4) % 8)
    return struct.pack("<I", len(body) if length is None else length) + body


CIE = entry(0, bytes([1]) + b"\0" + bytes([1, 0x78, 16, 0x0c, 7, 8, 0x90, 1]))  # rsp + 8, the usual start
EVERYWHERE = struct.pack("<QQ", 0x400000, 0x100000)


def fde(at, program_bytes, length=None):
    """Follows the CIE at the section's start; `at` is its own offset."""
    return entry((at + 4) & 0xffffffff, EVERYWHERE + program_bytes, length)


def frame_tables():
    """{name: bytes of .eh_frame}"""
    noise = random.Random(11)
    return {
        "garbage": noise.randbytes(65536),
        "truncated": CIE + fde(len(CIE), bytes(8), 0x7ffffff0),
        "wide": CIE + struct.pack("<IQ", 0xffffffff, 1 << 62) + bytes(20),  # a 64-bit length past everything
        "augmented": entry(0, bytes([1]) + b"zPLR\0" + bytes([1, 0x78, 16]) + b"\xff" * 9 + b"\x7f"),
        "remembering": CIE + fde(len(CIE), bytes([0x0a]) * 2000000),  # a stack of rules without an end
        "advancing": CIE + fde(len(CIE), bytes([0x41, 0x0e, 16]) * 400000),  # a rule for each byte, and far beyond
        "overlapping": CIE + b"".join(fde(len(CIE) + 32 * i, bytes([0x0e, i & 0x7f])) for i in range(30000)),
        "selfish": CIE + fde(-4, bytes(8)),  # its CIE would be itself
    }


def make_all(folder):
    """{name: path}; a FIFO lies beside them and in .debug/."""
    paths = {"nested": nested(f"{folder}/nested"), "fifo": link(f"{folder}/fifo", "pipe"),
             "shadow": link(f"{folder}/shadow", "../../../etc/shadow"),
             "absolute": link(f"{folder}/absolute", "/etc/shadow")}
    os.makedirs(f"{folder}/.debug")
    os.mkfifo(f"{folder}/pipe")
    os.mkfifo(f"{folder}/.debug/pipe")
    for name, frames in frame_tables().items():
        paths[name] = program(f"{folder}/{name}", frames)
    return paths
