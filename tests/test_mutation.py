"""In-place writes, views and aliasing keep NumPy's meaning (D6), also on a hit."""

import pytest

from bench.fuzz import check, report

# Each line is a program, statement by statement; `bench.fuzz.inputs` has the arguments.
PROGRAMS = """
r = A.T; A[0] = 9; s = r.sum(); r[1] = 5; t = A.copy(); r += 1; A *= 2
r = A[1:]; s = r[:, 1:]; t = s.T; t[0] = 7; A[2] = 1; s *= 3; r[-1] = A[0]; t += 1
r = A.ravel(); r[::3] = 0; s = A.reshape(4, 6); s[1] += 1; t = s.T.reshape(-1); t[:] = 5
r = C.ravel(); r[:] = 0; s = C.reshape(-1); s += 1; C[0, 0] = 3
r = A; A += 1; s = A; s[0] = 4; r is s
r = A[0]; s = A[0]; r[:] = 1; s[1] = 2; A[0, 2] = 3
r = B.diagonal(); B[0, 0] = 8; s = r.copy(); r[0] = 1; B[1, 1] = 7
r = np.diag(B); B += 1; s = r * 2; np.fill_diagonal(B, 0)
r = z.real; s = z.imag; z[0] = 1 + 2j; r[1] = 5; s += 1; z.real = 4; z.imag[2] = 6; z *= 1j
r = A.real; s = A.imag; r[0] = 3; s[0] = 1
r = A[None]; s = r[0]; s[0] = 2; r[..., 1] = 3; t = r.squeeze(); t += 1
r = np.broadcast_to(v, (3, 4)); v[0] = 9; s = r.sum(0); r[0] = 1; r += 1
r = A.swapaxes(0, 1); s = np.moveaxis(A, 0, 1); r[0] = 1; s[1] = 2; A[:, 2] = 3; t = r - s
r = A[::-1]; s = r[::2]; s[0] = 1; A[0] = 2; t = s + 0; r -= 1
r = np.split(A, 2); r[0][0] = 5; s = np.array_split(A, 4)[1]; s *= 2; A[5] = 0
r = A.view(); r[0] = 1; s = A.view('i8'); s[1] = 0; A[2] = 4; t = s.copy()
r = np.asarray(A); r[0] = 1; s = np.ascontiguousarray(A); s[1] = 2; t = np.asfortranarray(A); t[2] = 3
r = np.array(A, copy=None); r[0] = 1; s = np.array(A); s[1] = 2
r = A.astype(float, copy=False); r[0] = 1; s = A.astype(float); s[1] = 2; t = D.astype('f4', copy=False)
r = A.T.T; r[0] = 1; s = A[:]; s[1] = 2; t = A[...]; t[2] = 3; u = A.reshape(6, 4); u[3] = 4
r = A[A > 0]; r[:] = 1; s = A[[0, 1]]; s += 1; t = A[1:, [0, 1]]; t[:] = 5
r = np.flip(A); r[0] = 1; s = np.rot90(A); s[0] = 2; t = np.fliplr(A); t[1] = 3; u = A.copy()
r = np.expand_dims(v, 0); r[0, 1] = 3; s = np.atleast_2d(v); s += 1; t = np.squeeze(r); t *= 2
r = np.einsum('ij->ji', B); B[0] = 1; s = r.copy(); t = np.einsum('ii->i', B); t[:] = 0
a = v + 1; b = a[:2]; a += 1; c = b.copy(); b += 1; d = a.copy()
a = B @ B; b = a.T; a[0] = 1; b[1] = 2; c = a @ b; b *= 2; d = a + b
a = np.zeros(4); b = a[1:]; a = a + 1; b += 1; c = a[1:]
a = np.zeros((3, 4)); a[0] = v; a[:, 1] = 7; b = a[1]; b[...] = k; c = a.sum(); a[0] += a[1]
a = [v, v]; a[0] += 1; a[1] -= 1; b = a[0] is a[1]; a[0] = a[0] + 1; c = a[1]
v[1:] += v[:-1]; v[:-1] -= v[1:]; v[::-1] *= v; v[:] = v[::-1]; v += v[0]; v[0] += v.sum()
w[1:] = w[:-1]; w[:-1] = w[1:]; w[::2] = w[1::2]; w[1:] = w[:-1] + w[1:]
B += B.T; B -= B[0]; B *= B[:, :1]; B[:, 0] = B[0]; B[0], B[1] = B[1], B[0]
B[0], B[1] = B[1].copy(), B[0].copy(); B[[0, 1]] = B[[1, 0]]; B.T[0] = B[0]
A[A > 0] = 0; A[A < 0] += 5; A[np.isnan(A)] = 1; A[m] = A[m] * 2; A[~m] -= 1; A[m, ...] = 7
A[[0, 0]] += 1; A[[0, 1], [1, 2]] = [5, 6]; A[:, [0, 1]] *= 2; A[np.ix_([0, 2], [1, 3])] = 9
A[..., 0] = 1; A[1:1] = 5; A[...] = 3; A[()] = 4; A[None, 0] = 6; A[-1, -1] = 7; A[99] = 1
k[0] = 3.7; k[1] = True; k += 1.5; k[:2] = [9.9, 8.1]; k //= 2; k **= 2; k <<= 1; k |= 1; k /= 2
m[0] = 5; m &= True; m |= k.max() > 0; m ^= m; m[1] = [True, False, True, False]; m += 1; m[2] = -1
v **= 2; v **= 0.5; v %= 1; v //= 0.3; v /= 2; v @= B; v = v @ B
x = v.sum(); y = x; x += 1; z2 = y; x *= 2; x -= v.max(); x /= 3; x **= 2
v[0] = v.max(); v[1] = v[0]; v[k % 4] = v; v[2] = np.array(5); v[3] = [1]; v[:] = 2
v.fill(2); v.sort(); w.sort(); A.sort(axis=0); B.partition(1); w[::2].sort(); A.T.sort(); k.sort()
w[::-1].sort(); v.put([0, 1], [5, 6]); v.put([9], 1); A.flat = 3; A.flat[5] = 1; A.flat[[0, 1]] = 8, 9
np.copyto(v, 5); np.copyto(A, B[0]); np.copyto(A, 1, where=m); np.copyto(A[1:], A[:-1]); np.copyto(k, v)
np.put(v, [0, 1], [5, 6]); np.put(A, [0, 99], 1, mode='clip'); np.put(A, [99], 1); np.put(A, [], [])
np.place(A, m, [1, 2]); np.putmask(A, A > 0, [7, 8]); np.place(k, k > 0, [1.5]); np.putmask(k, m[0], v)
np.fill_diagonal(B, 5); np.fill_diagonal(A, v); np.fill_diagonal(v, 1); np.fill_diagonal(A[:3, :3], k)
np.put_along_axis(A, np.argmax(A, axis=0)[None], 0, axis=0); np.put_along_axis(B, k[:, None] % 4, 9, 1)
np.add.at(v, [0, 0, 1], 1); np.add.at(A, ([0, 1], [1, 1]), 5); np.subtract.at(A, m, 1); np.add.at(v, 0, 1)
np.negative.at(v, [0, 1]); np.multiply.at(A, slice(1, 3), 2); np.maximum.at(k, k % 4, 5); np.add.at(v, 9, 1)
r = np.add(v, 1, out=v); r[0] = 3; s = np.multiply(A, 2, A); s is A; np.sqrt(v * v, out=v)
np.add(v, k, out=k); np.add(k, 1.5, out=k); np.add(v, 1, out=v[:2]); np.add(v[:2], 1, out=v[2:])
np.add(v, 1, out=v, where=v > 0); np.exp(v, out=v, where=[True, False, True, False]); np.add(A, v, out=A.T)
np.add(v[:-1], v[1:], out=v[1:]); np.multiply(B, B.T, out=B); np.add(B, B.T, out=B.T); np.negative(B, B)
np.matmul(B, B, out=B); np.dot(B, B.T, out=B); np.matmul(A, B, out=A); np.dot(B, B, out=A); np.dot(B, v, v)
np.sum(A, axis=0, out=v); np.mean(A, axis=1, out=w); A.max(axis=0, out=v); np.cumsum(v, out=v); v.cumsum(out=v)
np.clip(A, 0, 1, out=A); A.clip(-1, 1, A); np.round(A, 1, out=A); A.round(0, A); np.take(A, [0, 1], 0, out=B[:2])
np.concatenate([v, v[:2]], out=w); np.stack([v, v], out=B[:2]); np.einsum('ij,j->i', B, v, out=v); np.add(1, 2, v)
q = np.empty(4); np.divmod(v, 2, out=(q, v)); np.modf(w, out=(w, None)); np.frexp(v, q, k); np.divmod(v, 2, q, v)
np.nan_to_num(A, copy=False); np.add.reduce(A, out=v); np.add.accumulate(A, out=A); np.maximum.outer(v, v, out=B)
np.median(A, axis=0, out=v); np.quantile(A, 0.5, axis=0, out=v); np.std(A, axis=0, out=v); np.add(v, 1, out=PLAIN[0])
v.setflags(write=False); v[0] = 1; v += 1; r = v[1:]; r[0] = 2; v.setflags(write=True); v[0] = 5; r[0] = 3
D[0] = 1; D += 1; D.sort(); D.fill(0); np.add(D, 1, out=D); D.T[0] = 1; D.flat = 0; D.setflags(write=True)
PLAIN[0] = v; r = v + PLAIN[0]; PLAIN *= 2; s = PLAIN @ v; PLAIN += v; t = PLAIN.T @ PLAIN; u = PLAIN.T @ PLAIN
r = PLAIN + v; PLAIN[0, 0] = 100; s = PLAIN + v; t = r + s; COUNTS[0] = 9; u = COUNTS + k[:3]
r = np.squeeze(PLAIN[:1]); r[0] = 5; s = PLAIN + v; t = np.reshape(PLAIN, -1); t[:] = 1; u = v @ PLAIN.T
box.a += 1; r = box.a; r[0] = 5; s = box.bump(2); box.write(0); t = box.a; box.a = v; box.a *= 2
pair[0] += 1; pair[1][:1] = 5; pair.append(pair[0].T); pair[2][0] = 3; pair[0] = v; pair.reverse(); pair[:] = pair[1:]
r = bump(v); s = bump(v + 0); r is v; t, u = halves(w); t += 1; u[:] = 2; r = standard(A); bump(A[0])
r, s, t = cleared(A, A); r[1] = 5; s += 1; q = cleared(A[1:], A); p = cleared(A + 0, A + 0); o = cleared(B, B.T)
for row in A: row += 1
for i in range(4): v[i] = i + v[i - 1]
for i, row in enumerate(A): A[i] = row - row.mean()
for c in A.T: c /= c.sum()
for i in range(3): B = B @ B; B /= B.max(); B[0] = i
while v.sum() < 50: v += abs(v) + 1
r = v; s = w; r, s = s, r; r += 1; s -= 1; r = None; t = s * 2
r = (lambda x: x.__iadd__(1))(v); s = [x.__imul__(2) for x in (v, w)]; t = sum([v, v])
A.byteswap(inplace=True); r = A.byteswap(); r += 1
A.T[...] += 1; A[1:][1:][0] = 5; A[:, 1][2] = 7; A[0][1] = 8; A.reshape(-1)[3] = 9; A[[0]][0] = 1
A[0], v[:] = v, A[0]; r = A[0] + v; A[0, :2], A[0, 2:] = A[0, 2:].copy(), A[0, :2].copy()
r = A.take([0, 1], axis=0); r[:] = 0; s = A.repeat(2, 0); s[:] = 1; t = np.where(m, A, 0); t += 1; u = A.copy(); u[:] = 5
r = v[:0]; r += 1; r[:] = 5; s = A[:, :0]; s *= 2; A[:0] = 7; t = np.zeros((0, 4)); t += v; t[:] = 1
r = np.real_if_close(z); r[0] = 9; s = np.trim_zeros(v); s[0] = 0; v[1] = 0; t = s.copy(); u = np.trim_zeros(v)
""".strip().splitlines()


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(program):
    lines = program.split("; ") if not program.startswith(("for ", "while ")) else [program]
    if check(lines, len(program)) is not None:
        pytest.fail(report(lines, len(program)), pytrace=False)
