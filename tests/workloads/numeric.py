# SPDX-License-Identifier: Apache-2.0
"""numpy over OpenBLAS: its hand-written kernels in all four types, LAPACK, the vector loops, sorting, FFT. Never ends."""
import numpy

random = numpy.random.default_rng(1)
while True:
    for kind in (numpy.float32, numpy.float64, numpy.complex64, numpy.complex128):
        a = (random.random((160, 160)) + (1j * random.random((160, 160)) if kind in (numpy.complex64, numpy.complex128)
                                          else 0)).astype(kind)
        for _ in range(6):
            b = a @ a
            v = a @ a[0]
            numpy.dot(a[1], a[2])
            numpy.outer(v, v)
        numpy.linalg.solve(a, b)
        numpy.linalg.inv(a)
        numpy.linalg.svd(a[:60, :60])
        numpy.linalg.eigh((a + a.conj().T)[:60, :60])
        numpy.linalg.qr(a)
        numpy.linalg.cholesky(a @ a.conj().T + 200 * numpy.eye(160, dtype=kind))
    many = random.random(100000)
    numpy.sort(many)
    numpy.sin(many), numpy.exp(many), numpy.sqrt(many), numpy.tanh(many)
    many.astype(numpy.float32).astype(numpy.int32)
    numpy.fft.fft(many[:65536])
    numpy.einsum("ij,jk,kl->il", a[:40, :40], b[:40, :40], a[:40, :40])
    numpy.convolve(many[:2000], many[:500])
    numpy.unique((many * 1000).astype(int))
