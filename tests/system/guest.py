# SPDX-License-Identifier: Apache-2.0
"""Boots a Debian kernel in QEMU (software emulation) on an initramfs that holds busybox, given programs with
their libraries, and an init script; gives back what the script printed on the serial line."""
import contextlib
import glob
import os
import shutil
import subprocess
import tempfile
import time

B = os.path.abspath(os.environ.get("B", "build"))
KERNELS = {"6.1": "linux-image-cloud-amd64", "6.12": "linux-image-6.12-cloud-amd64"}


def sh(*argv, **kw):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **kw).stdout


def package_of(meta):
    """The newest real package behind a meta package."""
    out = sh("apt-cache", "depends", meta)
    for line in out.splitlines():
        line = line.strip()
        if line.startswith("Depends: linux-image-"):
            return line.split()[1]
    raise RuntimeError(f"{meta}: no kernel package behind it")


def kernel(series):
    """Path of the kernel of a series, downloaded by apt once and kept under the build folder."""
    folder = f"{B}/guest/{series}"
    have = glob.glob(f"{folder}/boot/vmlinuz-*")
    if not have:
        os.makedirs(folder, exist_ok=True)
        try:
            name = package_of(KERNELS[series])
        except (RuntimeError, subprocess.CalledProcessError):
            sh("apt-get", "update", "-qq")
            name = package_of(KERNELS[series])
        with tempfile.TemporaryDirectory() as scratch:
            sh("apt-get", "download", "-qq", name, cwd=scratch)
            sh("dpkg-deb", "-x", glob.glob(f"{scratch}/*.deb")[0], folder)
        shutil.rmtree(f"{folder}/lib", ignore_errors=True)
        have = glob.glob(f"{folder}/boot/vmlinuz-*")
    return have[0]


def libraries(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return sorted({word for line in out.splitlines() for word in line.split() if word.startswith("/")})


def initramfs(script, programs, files, to):
    root = tempfile.mkdtemp()
    try:
        for folder in ("bin", "proc", "sys", "dev", "tmp", "run", "etc", "var/lib", "var/log", "root"):
            os.makedirs(f"{root}/{folder}", exist_ok=True)
        shutil.copy("/bin/busybox", f"{root}/bin/busybox")
        for program in programs:
            shutil.copy(program, f"{root}/bin/{os.path.basename(program)}")
            for library in libraries(program):
                os.makedirs(root + os.path.dirname(library), exist_ok=True)
                shutil.copy(os.path.realpath(library), root + library)
        for name, text in files.items():
            os.makedirs(os.path.dirname(f"{root}/{name.lstrip('/')}"), exist_ok=True)
            with open(f"{root}/{name.lstrip('/')}", "w") as f:
                f.write(text)
        with open(f"{root}/init", "w") as f:
            f.write(script)
        os.chmod(f"{root}/init", 0o755)
        with open(to, "wb") as out:
            names = subprocess.Popen(["find", "."], cwd=root, stdout=subprocess.PIPE)
            cpio = subprocess.Popen(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], cwd=root, stdin=names.stdout,
                                    stdout=subprocess.PIPE)
            subprocess.run(["gzip", "-1"], stdin=cpio.stdout, stdout=out, check=True)
            names.wait()
            cpio.wait()
    finally:
        shutil.rmtree(root)


PRELUDE = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
ip link set lo up
"""
POSTLUDE = """
echo GUEST-DMESG
dmesg | grep -E 'BUG|WARNING|lockup|Oops|rcu.*stall' | head -20
echo GUEST-END
poweroff -f
"""


def waited(pid):
    """(seconds its threads ran, seconds they waited for a processor of the host)"""
    ran = delayed = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with contextlib.suppress(OSError):
            numbers = open(path).read().split()
            ran, delayed = ran + int(numbers[0]) / 1e9, delayed + int(numbers[1]) / 1e9
    return ran, delayed


def boot(series, script, programs=(), files=None, cpus=2, memory="1G", append="", timeout=240):
    """(what the script printed, or None when the guest did not reach its end; share of the time it needed that the
    host kept its processors from it, when a guest's clocks tick late)"""
    folder = tempfile.mkdtemp()
    try:
        initramfs(PRELUDE + script + POSTLUDE, programs, files or {}, f"{folder}/initrd")
        with open(f"{folder}/serial", "wb") as serial:
            run = subprocess.Popen(
                ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(cpus), "-m", memory,
                 "-nic", "none", "-no-reboot", "-display", "none", "-serial", "stdio", "-monitor", "none",
                 "-kernel", kernel(series), "-initrd", f"{folder}/initrd",
                 "-append", f"console=ttyS0 quiet panic=-1 loglevel=3 {append}"],
                stdout=serial, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        times, end = (1, 0), time.monotonic() + timeout
        while run.poll() is None and time.monotonic() < end:
            now = waited(run.pid)
            times = now if now[0] else times
            time.sleep(0.5)
        run.kill()
        run.wait()
        text = open(f"{folder}/serial", errors="replace", newline="").read().replace("\r", "")
        return text if "GUEST-END" in text else None, times[1] / sum(times)
    finally:
        shutil.rmtree(folder)
