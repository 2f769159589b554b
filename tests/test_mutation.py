"""In-place writes, views and aliasing keep NumPy's meaning (D6), also on a hit."""

import numpy as np
import pytest
from same import same

import lima
from bench.fuzz import check, report, small_runs, stress

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
A[0, 0, ...] = [5]; A[0, 0] = [5]; A[..., 0] = [5]; b = k[..., 1]; k[2, ...] = [1]
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
u[0] = [0, 3, -3, -1]; u[1:] = [7, 8, -1, 2]; u[[0, 1]] = [5, 6, 7, -8]; u[:, 0] = [9, u[0, 0], -3]; u[1] = 5, "a", 6, 7
v1 = v * 2; np.round(z, 1, out=v1[:3]); v2 = v[:3] + 1; np.round(z, 1, out=v2); v3 = v[:3] + 1; np.round(z * 2, 1, out=v3); np.add(z, 1, out=v3)
r = (A, v); np.copyto(r, v); np.put([1, 2], [0], v); np.place((A,), A > 0, 1); np.putmask([1.0, 2.0], [True, False], v)
np.modf(A, out=(B,)); np.add(v, 1, out=(v, w)); np.add.reduce(A[:, :2], out=(v[:2], w[:2])); np.modf(A, out=(A, 3)); np.modf(v, out=(v, None)); r = np.broadcast_to(v, (2, 4)); np.divmod(d, 2, out=(r, r.copy()))
t[...] = [t[1], *t[:-1]]; t[::-1] = [t[0], (7, 7, 7), t[1], t[1]]; t[:2] = (t[1], t[0]); t.reshape(2, 2)[:] = [[t[3], t[0]], [t[1], t[2]]]; t[[0, 1]] = [t[2], t[0]]; t[:3] = [t[1]]
k[:] = [1, 2, "a", 3]; v[1:] = [1, [2], 3]; u.flat[:2] = [9, -3]; u.fill(-1); v[:3] = [4, 5, None]; t[1:] = [(1, 2), 3]
A[:2] = [A[1], A[0]]; A[2:4] = (A[3], A[2] + 0); B[::-1] = [B[1], B[0], B[3], B[2]]; A[[4, 5]] = [A[5], A[4]]
C[:2] = [C[1], C[0]]; B[:, :2] = [B[1, :2]] * 4; a = np.ones((2, 2, 2)); a[0] = v[:2]; a[:] = [a[1, 1], a[0, 0]]; B[:2] = [B[1, :1], B[0, :1]]
D = D + 0; D[:-1] **= D[1:]; v[:-1] **= v[1:]; z[:-1] *= z[1:]; z[1:] *= z[:-1]; np.multiply(z[:-1], z[1:], out=z[:-1]); np.power(v[:-1], v[1:], out=v[:-1]); np.exp(w[1:], out=w[:-1])
np.tanh(w[1:], out=w[:-1]); a = A.ravel(); np.sin(a[3:], out=a[:-3]); r = z * 1j; s = r.imag; np.add(s, 1, out=r, where=s > 0)
k **= k[::-1]; np.power(k, [1, 2, -1, 3], out=k); np.power([2, 3], [2, -1], out=k[:2])
r = np.apply_along_axis(np.sum, 0, z); s = np.trim_zeros(r); q = np.apply_along_axis(np.sum, 0, v); s = np.trim_zeros(q)
r = v[...]; v.setflags(write=False); r[-1:] -= 1; np.ravel(r)[:1] = 5; r[0] += 1; r[[0, 1]] = 3; r[:2] = [8, "a"]; v[0] = 1; r.sort()
r = np.broadcast_to(v, (2, 4)); r.flat[9] = 8; r.flat[0] = 1; r.flat = 2; np.add.accumulate(v[:1], out=A); np.add.accumulate(m[0, :1], axis=0, out=u); r = np.cumsum(k[:1], out=B); np.add.reduceat(v, [0], out=B)
r = z * 1j + v / 3; a = r[:1] + 0; b = r[1:2] / 7; c = a * b; a *= b; d = (r[:1] + 0) * b; e = a + 0; np.multiply(e, b, e); s = np.square(e); np.square(e, e); np.square(r[::2], r[::2]); q = np.square(r[::2] + 0)
r = (z / 7).astype("F"); a = r[2:3] + 0; np.multiply(r[1:2], a, out=a); r[3:] *= r[2:3]; r[:1] *= a; h = (v[1:2] / 9).astype("e"); np.arccos(h, h); g = np.arccos((v[1:2] / 9).astype("e"))
c = np.empty(()); r = np.dot(v, v, out=c); s = np.round(v[1], 1, c); q = np.clip(v[1], 0, 2, out=c); t = np.round(v[:1].reshape(()), out=c); u = np.dot(v, v, c) + c; p = np.dot(v[:1].squeeze(), v[0], out=c[...])
m.setflags(write=False); r = np.tile(m[:0], 2); s = np.tile(m[:0], (1, 1)); q = np.tile(m[:, :0], (3, 1, 2)); t = np.tile(A[:0], (2, 2)); u = np.tile(m, 2); p = np.tile(m[:0], ())
r = np.nan_to_num(v.sum(), copy=False); np.nan_to_num([1, v[0]], copy=False); s = np.nan_to_num(None, copy=False); q = np.nan_to_num(v[0], nan=1); np.nan_to_num(v[:1].reshape(()), copy=False)
r = t[["x", "y"]]; rng.shuffle(r); rng.shuffle(t[["y", "p"]][::2]); s = t[["x"]]; rng.shuffle(s, axis=0); np.random.shuffle(r[1:]); q = t.copy()
r = np.real_if_close(z); r[0] = 9; s = np.trim_zeros(v); s[0] = 0; v[1] = 0; t = s.copy(); u = np.trim_zeros(v)
""".strip().splitlines()


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(program):
    lines = program.split("; ") if not program.startswith(("for ", "while ")) else [program]
    if check(lines, len(program)) is not None:
        pytest.fail(report(lines, len(program)), pytrace=False)


def test_what_waits_is_computed_before_a_write_though_its_reader_is_found_in_the_cache():
    """`v11` is found, `v0` is not: it has to be computed before `v` is written."""
    program = """
v0 = e != v
v1 = np.compress([True, False], v0, axis=0)
v2 = np.asarray(B, dtype=bool)
v5 = held.rng.standard_cauchy((4, 2))
v6 = np.concatenate([t, t])
D += D.max()
v11 = k == v0
v12 = total(m, axis=1)
v15 = np.power.reduce(v5, -2, keepdims=True)
v /= v2
v17 = np.linalg.lstsq(v5, v5, rcond=None)[0]
"""
    assert check(program.strip().splitlines(), 800041, (small_runs,)) is None


# --------------------------------------------------------------------------- arguments


def fresh(*shapes):
    rng = np.random.default_rng(11)
    return tuple(rng.normal(size=shape) for shape in shapes)


def test_an_argument_written_in_place_is_the_callers_own_buffer():
    def use(a, b):
        a[0] = 5
        b += a
        return a, b[1:]

    same(use, lambda: fresh((4, 3), (4, 3)))
    a, b = fresh((4, 3), (4, 3))
    address = a.__array_interface__["data"]
    back, part = lima.traced(use)(a, b)
    assert back is a and a.__array_interface__["data"] == address
    assert part.base is b or np.shares_memory(part, b)


def test_one_array_as_two_arguments_is_one_array():
    def use(a, b):
        a[0] = 7
        return a.sum(), b.sum(), a.T @ b, a is b

    def one():
        (a,) = fresh((5, 5))
        return a, a

    def two():
        (a,) = fresh((5, 5))
        return a, a.copy()

    assert same(use, one) != same(use, two)
    with stress(), lima.session():  # neither may be served the other's call
        traced = lima.traced(use)
        for make in (one, two, one, two):
            assert traced(*make())[1] == use(*make())[1]


@pytest.mark.parametrize(
    "part",
    [np.s_[1:], np.s_[:, 0], np.s_[::-1], np.s_[::2, ::2], np.s_[...], np.s_[2], np.s_[1:1]],
    ids=str,
)
def test_an_argument_that_is_a_view_of_another(part):
    def writes_whole(a, b):
        a += 1
        return b.sum(), a.copy()

    def writes_part(a, b):
        b *= 2
        b[:1] = 3
        return a @ a.T, b + 1

    def make():
        (a,) = fresh((4, 4))
        return a, a[part]

    same(writes_whole, make)
    same(writes_part, make)
    same(writes_part, lambda: make()[::-1])


def test_views_of_views_that_are_arguments():
    def use(a, b, c):
        c[...] = 1
        a[0] += b[0].sum()
        return a, b, c, b.T @ b

    def make():
        (base,) = fresh((6, 4))
        return base[1:], base[:, 1:], base[2:4, 2:]

    same(use, make)


def test_arrays_inside_of_arguments():
    class Model:
        def __init__(self, w):
            self.w, self.past = w, [w.copy()]

    def use(models, table):
        for m in models:
            m.w -= 0.5
            m.past.append(m.w.copy())
            m.w = m.w * 2
        table["x"][0] = 9
        table["y"] = table["x"] + 1
        return models[0].w, table["x"].sum(), len(models[0].past)

    def make():
        a, b, x = fresh((3,), (3,), (4,))
        return [Model(a), Model(b)], {"x": x, "alias": x[1:]}

    def left(make, function):
        models, table = make()
        found = function(models, table)
        held = [m.w for m in models] + [p for m in models for p in m.past] + list(table.values())
        assert all(type(a) is np.ndarray for a in held)
        return [np.asarray(a).tolist() for a in (*found, *held)]

    wanted = left(make, use)
    for reuse in ("none", "hybrid"):
        with stress(), lima.session(reuse=reuse):
            traced = lima.traced(use)
            assert left(make, traced) == wanted == left(make, traced)


def test_what_a_hit_gives_belongs_to_the_caller():
    def use(a):
        g = a.T @ a
        return g, g[0], (g + 1).T

    with stress(), lima.session() as s:
        traced = lima.traced(use)
        for _ in range(4):
            g, row, more = traced(*fresh((5, 4)))
            want = use(*fresh((5, 4)))
            assert g.tobytes() == want[0].tobytes() and more.tobytes() == want[2].tobytes()
            assert g.flags.writeable and row.base is not None and np.shares_memory(g, row)
            g[...] = more[...] = 0
        assert s.stats.function_hits == 3


def test_effects_are_repeated_on_a_hit():
    def use(a, log):
        a *= 2
        a[0] = 1
        log.append(a.sum())
        return a.mean()

    same(use, lambda: (*fresh((3, 3)), []), runs=3)


def test_read_only_arguments_stay_read_only_and_raise():
    def use(a, write):
        if write:
            a[0] = 1
        b = a[1:]
        try:
            b += 1
        except ValueError as error:
            return "read-only" in str(error), a.flags.writeable, b.flags.writeable
        return "written"

    def make(write):
        (a,) = fresh((3, 3))
        a.setflags(write=False)
        return a, write

    same(use, lambda: make(False))
    same(use, lambda: make(True))
    for row in ("a += 1", "a.sort()", "a.fill(0)", "np.add(a, 1, out=a)", "np.copyto(a, 0)",
                "np.put(a, 0, 1)", "np.add.at(a, 0, 1)", "a.flat = 0", "a.T[0] = 1"):  # fmt: skip
        scope = {"np": np}
        exec(f"def use(a): {row}", scope)
        with pytest.raises(ValueError, match="read-only"):
            lima.traced(scope["use"])(make(False)[0])


GLOBAL = np.arange(6.0)


def test_a_plain_global_array_that_changes_between_uses():
    def use(a):
        before = a + GLOBAL
        GLOBAL[0] += 1
        middle = a * GLOBAL
        GLOBAL[:] = GLOBAL[::-1].copy()
        return before, middle, a @ GLOBAL, GLOBAL.sum()

    def run(function):
        GLOBAL[:] = np.arange(6.0)
        found = [[np.asarray(x).tolist() for x in function(np.ones(6))] for _ in range(3)]
        return found, GLOBAL.tolist()

    wanted = run(use)
    for reuse in ("none", "operation", "hybrid"):
        with stress(), lima.session(reuse=reuse):
            assert run(lima.traced(use)) == wanted


def test_a_closure_array_that_changes_between_calls():
    held = np.ones(4)

    def use(a):
        return (a * held).sum()

    with stress(), lima.session():
        traced = lima.traced(use)
        for k in range(4):
            held[k] = 5
            assert traced(np.ones(4)) == use(np.ones(4))


def test_results_do_not_change_when_arguments_do():
    def use(a, b):
        return a + 1, np.concatenate([a, b]), a.T, a[::2] * b[::2], [x + y for x, y in zip(a, b)]

    with stress(), lima.session():
        a, b = fresh((4, 4), (4, 4))
        found = lima.traced(use)(a, b)
        want = use(a, b)
        kept = [x.copy() for x in (want[0], want[1], want[3])]
        a[...] = b[...] = 77
        assert [x.tolist() for x in (found[0], found[1], found[3])] == [x.tolist() for x in kept]
        assert (found[2] == 77).all()


def test_arrays_that_outlive_a_call_follow_plain_memory():
    kept = []

    def use(a):
        kept.append((a, a[1:], a + 1, a @ a))
        a[0] = 5
        return a

    (a,) = fresh((3, 3))
    with stress(), lima.session():
        lima.traced(use)(a)
        whole, part, more, product = kept[0]
        was = np.array(more), np.array(product)
        a[...] = 9
        assert np.asarray(whole).tolist() == a.tolist() and (np.asarray(part) == 9).all()
        assert (np.array(more) == was[0]).all() and (np.array(product) == was[1]).all()
        whole[1] = 4
        assert (a[1] == 4).all() and (np.asarray(part)[0] == 4).all()


# --------------------------------------------------------------------------- large arrays

LARGE = {
    "written while something waits": lambda a, b: (a + b, a.__iadd__(1), a - b, b.T @ a),
    "view written while something waits": lambda a, b: (
        a * 2, a[1:].__iadd__(5), a.T.__setitem__(0, 1), a + b, a[:3].sum()),
    "copy written": lambda a, b: (c := a + b, c.__iadd__(a), c[0].__imul__(3), c.T, c),
    "swapped": lambda a, b: (a.__setitem__(slice(0, 2), a[2:4]), a[::-1] + a, a.sort(axis=0), a),
    "stacked and then written": lambda a, b: (
        s := np.vstack([a, b]), a.fill(0), s.T @ s, b.__imul__(2), s),
    "mask": lambda a, b: (m := a > b, a.__setitem__(m, 0), b[m].sum(), a, m),
}  # fmt: skip


@pytest.mark.parametrize("what", LARGE)
def test_arrays_large_enough_to_wait(what):
    same(LARGE[what], lambda: fresh((300, 300), (300, 300)))


# --------------------------------------------------------------------------- completeness

NOT_OFFERED = {
    *("__array_finalize__", "__array_interface__", "__array_struct__", "__array_wrap__"),
    *("__class_getitem__", "__setstate__", "__buffer__"),  # the last one if it is compiled
}
"""Attributes of ndarray that an `Array` does not have: parts of how C code and subclasses work."""


def test_every_attribute_of_ndarray_is_there():
    """A method that a new NumPy adds, which might write in place, fails here first."""
    assert set(dir(np.ndarray)) - set(dir(lima.Array)) <= NOT_OFFERED


def test_pointers_to_the_memory_leave_the_leaf_alone():
    x = lima.array([1.0, 2.0])
    y = x + 0
    np.ctypeslib.as_array(
        x.ctypes.data_as(np.ctypeslib.ctypes.POINTER(np.ctypeslib.ctypes.c_double)), (2,)
    )[0] = 7
    assert x.tolist() == [7.0, 2.0] and y.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("shape", [6, (6,), (2,), (2, 2), (0,), (2, 0), (3, 2), (-1,), ()])
def test_resize_in_place(shape):
    def use(a):
        b = a[0] * 2
        b.resize(shape)  # `*shape` looks to NumPy as if others held it, from Python 3.14 on
        b += 1
        a.resize(4, 3)
        return a, b, b.sum()

    same(use, lambda: fresh((3, 4)))


def test_resize_refuses_where_others_see_the_memory():
    def use(a, which):
        b = a + 1
        view = b[:2]
        (a, b, view, b[1:])[which].resize(9)
        return view

    for which in range(4):
        same(use, lambda which=which: (*fresh((5,)), which))
    with pytest.raises(NotImplementedError, match=r"np\.resize"):
        lima.traced(lambda a: a.resize(9, refcheck=False))(np.ones(3))


def test_dtype_in_place():
    def use(a, b):
        c = a + 1
        c.dtype = np.int64
        b.dtype = "f4"
        try:
            c.dtype = "V3"
        except ValueError:
            c[0] = 0
        return c, b

    same(use, lambda: fresh((3, 4), (2, 2)))


def test_flags_are_set_by_attribute_and_by_key():
    def use(a, b):
        a.flags.writeable = False
        b.flags["W"] = False
        seen = [str(a.flags), a.flags.num, b.T.flags.fnc, a.flags == a.flags, b.flags.carray]
        for x in (a, b):
            try:
                x[0] = 1
            except ValueError as error:
                seen.append(str(error))
        b.flags.writeable = True
        b[0] = 5
        return seen, a, b

    same(use, lambda: fresh((3, 4), (2, 2)))


def test_shape_in_place():
    def use(a, b):
        c = a + 1
        c.shape = (2, 6)
        b.shape = -1
        try:
            c.shape = 5
        except ValueError:
            c[0] = 0
        return c, b

    same(use, lambda: fresh((3, 4), (2, 2)))
    x = lima.array(np.zeros((2, 3)))
    seen = x[0]
    with pytest.raises(NotImplementedError, match="views"):
        x.shape = 6
    assert seen.shape == (3,)


@pytest.mark.parametrize("part", [lambda B: (B[1], B), lambda B: (B, B[1:]), lambda B: (B[1:], B)])
@pytest.mark.parametrize("shape", [(5,), (4, 4)])
def test_a_view_that_was_made_before_its_array_was_locked_stays_writable(part, shape):
    def program(v, B):
        early = v[:]
        B += 1
        late = v[:]
        v.setflags(write=False)
        early[0], late[1:2] = 3, 4
        return early, late, late[1:], v[:]

    same(program, lambda: part(np.arange(np.prod(shape) * 1.0).reshape(shape)))


@pytest.mark.parametrize("place", [[0, 0], 1, np.s_[0:2]])
def test_ufunc_at_refuses_a_read_only_array(place):
    """NumPy overlooks the flag in some of these; lima never writes what is marked."""

    def use(a):
        np.add.at(np.diagonal(a), place, 1)

    a = np.zeros((3, 3))
    with lima.session(), pytest.raises(ValueError, match="read-only"):
        lima.traced(use)(a)
    assert not a.any()


@pytest.mark.parametrize("dtype", ["i8", "?", "f8", "c16"])
def test_cleaning_in_place_writes_only_what_can_be_unclean(dtype):
    def program(a):
        try:
            return np.nan_to_num(a.imag, copy=False)  # read-only, if `a` is real
        except ValueError as error:
            return np.array(str(error) == "assignment destination is read-only")

    a = np.ones(3, dtype)
    for _ in range(2):
        found = lima.traced(program)(a)
        assert found.dtype == program(a).dtype and found.tobytes() == program(a).tobytes()


def test_an_object_that_is_an_index_gives_a_view():
    class Place:
        def __init__(self, k):
            self.k = k

        def __index__(self):
            return int(self.k)

    def use(a):
        k = np.arange(3)
        row, part = a[Place(k[1])], a[Place(0) : Place(2), Place(k[2])]
        row[:] = 7
        a[Place(0), Place(1)] = 5
        return a, row, part, a[Place(2), Place(k[0])]

    same(use, lambda: (np.arange(12.0).reshape(3, 4),))


def unlocked_and_written(a):
    a.setflags(write=True)
    b, c = a[1:], a * 2
    b[0] = 9
    return a, b, c, a.flags.writeable


def unlocked(a):
    a.flags.writeable = True
    return a.flags.writeable


def unlocked_and_locked(a):
    a.setflags(write=True)
    a += 1
    b = a + 1
    a.setflags(write=False)
    return a, b


@pytest.mark.parametrize("use", [unlocked_and_written, unlocked, unlocked_and_locked])
@pytest.mark.parametrize("memory", ["its own", "another's", "bytes"])
def test_an_argument_that_was_locked_is_unlocked(use, memory):
    """Its owner may do so, if the memory allows it; the caller's array is then writable, too."""

    def make():
        a = {
            "its own": np.arange(4.0),
            "another's": np.arange(8.0)[::2],
            "bytes": np.frombuffer(np.arange(4.0).tobytes()),
        }[memory]
        a.flags.writeable = False
        return (a,)

    same(use, make)


def test_a_view_that_numpy_locks_can_be_unlocked_and_written():
    def use(a):
        b = np.sort(a, axis=0)
        d = np.diagonal(b)
        d.setflags(write=True)
        d[0] = 9
        d += 1
        d.partition(0)
        np.add(d, d[::-1], out=d)
        e = np.diag(a)
        e.flags.writeable = True
        e[...] = 5
        return a, b, d, e, np.diagonal(b).flags.writeable

    same(use, lambda: (np.arange(9.0).reshape(3, 3)[::-1].copy(),))


def _unlocks_a_view(a):
    v = a[1:]
    v.setflags(write=True)
    v[0] += 5.0
    return v.sum(), a + 1.0


def _unlocks_a_view_of_a_view(a):
    v = a[1:]
    w = v[1:]
    w.setflags(write=True)
    w[0] = 3.0
    return v.flags.writeable, w.flags.writeable, a * 2.0, v.sum()


def _unlocks_and_locks(a):
    v = a[::2]
    v.setflags(write=True)
    v += 1.0
    v.setflags(write=False)
    v[0] = 4.0


@pytest.mark.parametrize(
    "program", [_unlocks_a_view, _unlocks_a_view_of_a_view, _unlocks_and_locks]
)
@pytest.mark.parametrize("memory", ["a view", "its own", "bytes"])
def test_a_view_of_a_locked_argument_is_unlocked_where_numpy_does(program, memory):
    def run(function):
        base = a = np.arange(5.0) if memory != "bytes" else np.frombuffer(bytes(40))
        if memory == "a view":
            a = base[:]
        if memory != "bytes":
            a.setflags(write=False)
        found = []
        for _ in range(3):  # the second and third of which may be found
            try:
                found.append([np.asarray(x).tolist() for x in function(a)])
            except ValueError as error:
                found.append(str(error))
            found.append((base.tolist(), a.flags.writeable))
        return found

    with lima.session():
        assert run(lima.traced(program)) == run(program)
