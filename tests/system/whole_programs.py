# SPDX-License-Identifier: Apache-2.0
"""The programs whose stacks have to be whole: Debian's own as they are shipped, stripped and without frame pointers,
compilers at work, hand-written assembly, vector code, and what signals, coroutines and runtimes do to a stack."""
import os
import shutil
import struct
import subprocess

from harness import B, OUTERMOST, WORKLOADS, build

GO_ROOTS = ("runtime.goexit", "runtime.mstart", "runtime.rt0_go", "runtime.mcall", "runtime.morestack")
ENTRY_BYTES = 0x40  # how far the call in an entry point lies from its first byte
WARM_UP = "md5"  # what is thrown away with the first seconds
SPEED = {  # openssl speed measures all of these, one after another; here several at the same time
    "openssl_digests": "md4 hmac sha1 sha256 sha512 whirlpool rmd160 ghash rand",
    "openssl_ciphers": "des des-ede3 aes-128-cbc aes-192-cbc aes-256-cbc camellia-128-cbc camellia-192-cbc "
                       "camellia-256-cbc rc4 rc2-cbc blowfish cast seed-cbc",
    "openssl_rsa": "rsa dsa ffdh eddsa",
    "openssl_ecdsa_prime": "ecdsap160 ecdsap192 ecdsap224 ecdsap256 ecdsap384 ecdsap521 ecdsabrp256r1 ecdsabrp384r1 "
                           "ecdsabrp512t1 sm2",
    "openssl_ecdsa_binary": "ecdsak163 ecdsak233 ecdsak283 ecdsak409 ecdsak571 ecdsab163 ecdsab233 ecdsab283 "
                            "ecdsab409 ecdsab571",
    "openssl_ecdh": "ecdh",
}
WITH_OLD = ("openssl_digests", "openssl_ciphers")  # some of them come from a module of their own
EVP = ("aes-256-gcm", "chacha20-poly1305", "aes-128-xts", "sha3-256")


class Program:
    """argv, the file it reads, its environment; what ends its stacks beside the names of OUTERMOST, a name or
    (binary, address); a command that disturbs it, given its pid; CPU seconds it is watched for; why it cannot run here."""

    def __init__(self, name, argv, source=None, environment=None, roots=(), pest=None, cpu=5, missing=None):
        self.name, self.argv, self.source, self.roots = name, argv, source, frozenset(roots)
        self.environment = dict(os.environ, **(environment or {}))
        self.pest, self.cpu = pest, cpu
        self.missing = missing or (None if shutil.which(argv[0]) else f"{argv[0]} is not installed")
        self.entry = None

    def is_root(self, function, binary, address):
        """Whether a stack that ends in this frame is whole. A stripped program has no name for its entry point."""
        if OUTERMOST.match(function.split("@")[0]) or function in self.roots or \
                {(os.path.basename(binary), address), (os.path.basename(binary), address + 1)} & self.roots:
            return True
        if self.entry is None:
            self.entry = entry_point(os.path.realpath(shutil.which(self.argv[0])))
        return os.path.basename(binary) == os.path.basename(os.path.realpath(self.argv[0])) and \
            self.entry < address <= self.entry + ENTRY_BYTES


def entry_point(program):
    with open(program, "rb") as file:
        return struct.unpack_from("<Q", file.read(64), 24)[0]


def c_source(functions):
    """A file that keeps cc1 busy in many passes."""
    parts = ["extern int take(int, const char *, double); struct pair { int a; double b; } pairs[64];"]
    for i in range(functions):
        parts.append(f"""
        static int helper_{i}(int x, struct pair *p) {{ for (int i = 0; i < x; i++) {{ p[i & 63].a += x * {i} ^ i;
            p[(i + 7) & 63].b *= 1.0 + p[i & 63].a / {i + 3}.0; }} return p[x & 63].a; }}
        int function_{i}(int x, int y) {{ struct pair local[64]; int sum = 0;
            for (int i = 0; i < 64; i++) {{ local[i] = pairs[(i * {i + 1}) & 63]; sum += helper_{i}(i + y, local); }}
            switch ((x + sum) % 11) {{ {' '.join(f'case {k}: sum += helper_{i}(sum + {k}, pairs) * take(y, "f{i}_{k}", local[{k}].b); break;' for k in range(11))} }}
            return sum ? sum : function_{max(0, i - 1)}(y, x) + helper_{i}(x, pairs); }}""")
    return "int function_0(int, int);\n" + "\n".join(parts)


def generated(folder, megabytes):
    """Text that compresses, but not trivially."""
    path = f"{folder}/text"
    with open(path, "w") as out:
        seed = 1
        for _ in range(megabytes * 8192):
            seed = seed * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
            out.write(f"{seed >> 40:06x} the quick brown fox {seed >> 33 & 0xff} jumps over {seed & 0x3f} lazy dogs; "
                      f"{(seed >> 12) % 9973} of {seed >> 50} went home at {seed >> 20 & 0xffff:x}, said {seed >> 45}\n")
    return path


def output(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip()


def openssl():
    speed = ["/usr/bin/openssl", "speed", "-bytes", "1024"]
    for name, algorithms in SPEED.items():
        old = ["-provider", "legacy", "-provider", "default"] if name in WITH_OLD else []
        yield Program(name, [*speed, *old, "-seconds", "1", WARM_UP, *algorithms.split()], cpu=None)
    for name in EVP:
        yield Program(f"openssl_{name}", [*speed, "-seconds", "30", "-evp", name], cpu=3)


def compilers(folder):
    with open(f"{folder}/busy.c", "w") as out:
        out.write(c_source(3000))
    passes = {which: output("gcc", f"-print-prog-name={which}") for which in ("cc1", "cc1plus")}
    yield Program("cc1", [passes["cc1"], "-quiet", "-O2", f"{folder}/busy.c", "-o", f"{folder}/busy.s"])
    subprocess.run(["g++", "-E", f"{WORKLOADS}/templates.cc", "-o", f"{folder}/templates.ii"], check=True)
    yield Program("cc1plus", [passes["cc1plus"], "-quiet", "-fpreprocessed", "-O2", f"{folder}/templates.ii", "-o",
                              f"{folder}/templates.s"], cpu=10)
    # not the proxy of rustup, which would be another program a moment later
    rustc = f"{output('rustc', '--print', 'sysroot')}/bin/rustc" if shutil.which("rustc") else "rustc"
    yield Program("rustc", [rustc, "-O", f"{WORKLOADS}/generic.rs", "-o", f"{folder}/generic"], cpu=12)


def shipped(folder):
    yield Program("xz", ["/usr/bin/xz", "-9", "-T1", "-c", generated(folder, 48)], cpu=4)
    yield Program("python3", ["/usr/bin/python3", f"{WORKLOADS}/busy.py"])
    yield Program("perl", ["/usr/bin/perl", f"{WORKLOADS}/busy.pl"])
    with open(f"{folder}/busy.sql", "w") as out, open(f"{WORKLOADS}/busy.sql") as once:
        out.write(once.read() * 200)
    yield Program("sqlite3", ["/usr/bin/sqlite3", ":memory:"], source=f"{folder}/busy.sql")
    numpy = subprocess.run(["/usr/bin/python3", "-c", "import numpy"], capture_output=True).returncode == 0
    yield Program("numpy", ["/usr/bin/python3", f"{WORKLOADS}/numeric.py"], cpu=12,
                  environment={"OPENBLAS_NUM_THREADS": "2"}, missing=None if numpy else "python3-numpy is not installed")


def runtimes():
    node = ["node", "--perf-basic-prof", "--interpreted-frames-native-stack", f"{WORKLOADS}/mixed.js"]
    yield Program("node", node, cpu=8)
    path = f"{B}/workloads/go_spin"
    if shutil.which("go"):
        environment = dict(os.environ, GOCACHE=f"{B}/workloads/gocache", GOTOOLCHAIN="local", GOFLAGS="-mod=mod",
                           CGO_ENABLED="0")
        subprocess.run(["go", "build", "-o", path, "."], check=True, cwd=f"{WORKLOADS}/gospin", env=environment)
    pest = [build("interrupted", "gcc", "-O2", "-g", "-fomit-frame-pointer", "interrupted.c", "-o", "@out")]
    missing = None if shutil.which("go") else "go is not installed"
    yield Program("go", [path, "1000"], roots=GO_ROOTS, missing=missing)
    yield Program("go_signals", [path, "1000"], roots=GO_ROOTS, pest=pest, missing=missing)


def our_own():
    simd = build("simd", "gcc", "-O3", "-mavx2", "-g", "simd.c", "-o", "@out")
    plain = ("-O2", "-g", "-fomit-frame-pointer", "-o", "@out")
    avx2 = " avx2 " in open("/proc/cpuinfo").read()
    yield Program("simd", [simd], missing=None if avx2 else "the processor has no AVX2")
    coroutine = build("coroutine", "gcc", *plain, "coroutine.c")
    start_context = ("libc.so.6", int(output(coroutine, "where"), 16))
    yield Program("coroutine_ucontext", [coroutine, "ucontext"], roots=("__start_context", start_context))
    yield Program("coroutine_by_hand", [coroutine, "hand"], roots=("hand_entry",))
    grown = build("grown", "gcc", *plain, "grown.c")
    yield Program("grown", [grown, "24"])
    yield Program("grown_far", [grown, "200"])  # more than a copy for the referee holds
    yield Program("hollow", [build("hollow", "gcc", "-fno-stack-clash-protection", *plain, "hollow.c")])
    yield Program("signals", [build("interrupted", "gcc", *plain, "interrupted.c")])
    missing = None if shutil.which("musl-gcc") else "musl-tools is not installed"
    for name, source in () if missing else (("musl", "library.c"), ("musl_signals", "interrupted.c")):
        build(name, "musl-gcc", "-static", *plain, source)
    yield Program("musl", [f"{B}/workloads/musl"], missing=missing)
    yield Program("musl_signals", [f"{B}/workloads/musl_signals"], missing=missing)


def programs(folder):
    """All of them, the longest first."""
    return [*openssl(), *compilers(folder), *shipped(folder), *runtimes(), *our_own()]
