"""What NumPy's registries do not list, and every way to call a universal function or a method.

Tables of programs of one line; the last statement is the result. Value, dtype, flags, error, text of
the error, warnings and the line that they name are those of plain NumPy, cold and warm.
"""

import re

import numpy as np
import pytest
from one_line import compare, how

import lima
from lima.draws import METHODS as METHODS_OF_GENERATORS

# The result has lineage.
TRACED = r"""
k[1] + [1, 2]
k[1] * [v, v]
r = np.int64(2) * [v]; r = k.max() * [v, A]; r[0] += 1; (v, r[0] is v)
A.transpose(np.array([1, 0])) * 2
np.transpose(A, np.argsort(np.array([1, 0]))) + A.T
r = A.copy(); r.transpose(np.argsort([1, 0]))[0] = 5; r
A.reshape(np.array(A.shape)[::-1])
r = A.copy(); r.reshape(np.array([-1]))[1:3] = 5; r
A.reshape(k.sum() * 0 + 3, [-1][0])
A.reshape((k.sum() * 0 + 3, -1))
np.moveaxis(A[None], np.array([0, 1]), [k[0] * 0 + 1, 0])
np.broadcast_to(A, np.array([2, *A.shape]))
np.swapaxes(A, np.array(0), np.array(1))
np.flip(A, np.array([0, 1]))
np.flip(A, [0, 1])
np.expand_dims(A, [0, 1])
np.rot90(A, np.array(1))
np.diagonal(A, np.array(1))
np.lib.stride_tricks.sliding_window_view(A, np.array([2, 2]))
np.median(A, axis=[0, 1])
np.busday_count([], np.array(['2024-01-01'], 'M8[D]'))
np.busday_count(np.array('2024-01-01', 'M8[D]'), [])
np.busday_offset(np.array(['2024-01-01'], 'M8[D]'), [])
np.is_busday(np.array(['2024-01-01'], 'M8[D]'), holidays=[])
r = A[:0].reshape(3, 0, 2); r[1:] += r[1:]; r
H, e = np.histogramdd(A[:, :2], bins=(3, 4)); e[1][0] = 9; (H, e, e[0] * 2)
np.histogramdd(A[:, :2], bins=(3, 4))
v[0].view('i8')
m[0, 0].view('u1')
(v * 2).sum().view('i8')
A[np.r_[0:2, 3]]
X, Y = np.mgrid[0:3, 0:2]; X * Y
X, Y = np.ogrid[0:3, 0:2]; X + Y
g = np.mgrid[0:2, 0:2]; g[0] += 1; g
A[tuple(np.mgrid[0:2, 0:2])]
np.fromiter((float(x) for x in v), float) @ v
f = np.vectorize(lambda x: float(x) * 2); f(v) + f(2.0)
np.asarray_chkfinite(A, dtype='f4', order='F')
np.array(v, copy=False)
np.asarray_chkfinite(A)
np.indices((3,4))
np.indices(A.shape)
np.indices((3,4), dtype=float)
np.indices((2,3), sparse=True)
np.diag_indices(3)
np.diag_indices_from(B)
np.tril_indices(4)
np.triu_indices(4, 1)
np.tril_indices_from(B, -1)
np.triu_indices_from(B)
B[np.triu_indices(4)]
B[np.tril_indices(4)]
r=B.copy(); r[np.diag_indices(4)] = v; r
np.mask_indices(4, np.triu)
np.mask_indices(4, lambda a, k: np.tril(a, k), 1)
np.hanning(8)
np.hamming(8)
np.blackman(8)
np.bartlett(8)
np.kaiser(8, 3.5)
np.kaiser(8, v[0])
w * np.hanning(6)
np.hanning(0)
fft.fftfreq(8)
np.fft.fftfreq(8, 0.1)
np.fft.rfftfreq(8, d=v[0])
np.fft.fftfreq(len(w), d=w[0])
np.asarray_chkfinite([1.0, 2.0])
np.mgrid[0:v[0]:5j]
np.c_[v, k]
np.c_[A, w]
np.r_[v, 1, 2]
np.r_[0:5, v]
np.r_[v[0]:5]
A[np.s_[1:2, ::3]]
A[np.ix_([0, 2], [1, 3])]
A[np.ix_([], [0])]
r = A.copy(); r[np.ix_([], [0])] = 3; r
np.ix_(k > 0, [1, 2])
np.ix_(k % 4, k % 3)
np.vectorize(np.linalg.norm, signature='(n)->()')(A)
f = np.errstate(divide='ignore'); f.__enter__(); r = v / 0; f.__exit__(None, None, None); r
np.finfo(np.float32).tiny + v
np.float64(3) * v
np.float64([1, 2]) + v[:2]
A.astype(np.float32)
A.astype('f4')
A.astype(int)
r = np.zeros((2, 3)); [r.__setitem__(i, sum(i)) for i in np.ndindex(r.shape)]; r
np.poly1d(v)(w)
np.poly1d([1, 2, 3])(v)
np.poly1d(v).roots
np.poly1d(v).deriv().coeffs
np.polynomial.polynomial.polyval(w, v)
np.fromfunction(lambda i, j: i * v[0] + j, (3, 3))
np.fromfunction(lambda i, j: i + j, (3, 3))
np.fromfunction(lambda i: i, (3,), dtype=int)
np.fromfunction(lambda i, j, k: np.where(i > j, i, j) * k, (3, 4), k=2.0)
np.fromfunction(np.hypot, shape=(2, 3), dtype='f4')
np.vectorize(lambda x: x * 2 + 1)(v)
np.vectorize(lambda x, y: max(x, y))(v, k)
np.vectorize(lambda x, y: (x + y, x - y))(v, k)
np.vectorize(lambda x: x > 0, otypes=[bool])(v)
np.vectorize(lambda x: np.exp(x), otypes='d')(v)
np.vectorize(lambda a, b: a @ b, signature='(n),(n)->()')(A, v)
np.vectorize(lambda x, n=2: x ** n, excluded=['n'])(v, n=3)
np.lib.stride_tricks.sliding_window_view(w, 3)
np.array([v, v])
np.array([v[0], 1.0])
np.array([[v[0], v[1]], [0, 1]])
np.asarray(v, dtype='f4')
np.asarray([v, v])
np.array(v, ndmin=2)
np.array(A, order='F')
np.require(A, requirements=['F'])
np.full(3, v[0])
np.tri(3)
np.eye(3) * v[:3]
np.identity(3)
np.select([v > 0, v < 0], [v, -v], 0)
np.choose(k % 2, [v, -v])
np.lexsort((v, k))
np.ravel_multi_index(([0, 1], [1, 2]), (2, 3))
np.interp(v, [0, 1], [2, 3])
np.histogram(A)
np.histogram2d(w, w)
np.digitize(v, [0, 1])
np.unique(k, return_counts=True)
np.emath.sqrt(-abs(v))
np.lib.scimath.log(-abs(v))
np.pi * v
np.inf * v
np.random.default_rng(0).normal(size=3)
np.datetime64('2020-01-01') + np.arange(3)
np.arange('2020-01', '2020-03', dtype='datetime64[D]')
np.strings.add(np.array(['a', 'b']), 'c')
np.array([(1, 2.0)], dtype=[('a', int), ('b', float)])['b'] * v[0]
np.add.reduce(A)
np.add.reduce(A, axis=1)
np.add.reduce(A, axis=None)
np.add.reduce(A, (0, 1))
np.add.reduce(A, 0, None, None, True)
np.add.reduce(A, keepdims=True, initial=5.0)
np.add.reduce(A, where=m)
np.add.reduce(A, axis=0, dtype='f4')
np.add.reduce(A, axis=0, out=v)
np.add.reduce(A, 0, None, v)
r = np.zeros(4); np.add.reduce(A, 0, None, r)
np.multiply.reduce(v)
np.maximum.reduce(A, axis=1)
np.minimum.reduce(A, initial=0)
np.logical_and.reduce(m, axis=0)
np.logical_or.reduce(m, axis=None)
np.bitwise_or.reduce(k)
np.hypot.reduce(v)
np.subtract.reduce(v)
np.divide.reduce(v)
np.power.reduce(abs(v))
np.arctan2.reduce(A, axis=1)
np.logaddexp.reduce(v)
np.logaddexp.reduce(A, axis=1)
np.fmax.reduce(A)
np.gcd.reduce(k)
np.lcm.reduce(abs(k)+1)
np.equal.reduce(m)
np.add.accumulate(v)
np.add.accumulate(A, axis=1)
np.add.accumulate(A, 1)
np.add.accumulate(A, dtype='f4')
np.multiply.accumulate(v, out=v)
np.maximum.accumulate(A, axis=0)
np.minimum.accumulate(A, 1)
np.logaddexp.accumulate(v)
np.subtract.accumulate(v)
np.add.accumulate(v, 0, None, v)
np.add.reduceat(w, [0, 2, 4])
np.add.reduceat(A, [0, 3], axis=0)
np.add.reduceat(A, [0, 2], 1, 'f4')
np.maximum.reduceat(w, [0, 2, 4])
np.multiply.reduceat(w, np.array([0, 3]))
np.add.reduceat(w, abs(k) % 6)
np.logical_or.reduceat(m, [0, 2])
np.add.outer(v, k)
np.multiply.outer(v, w)
np.subtract.outer(v, v)
np.maximum.outer(v, w)
np.power.outer(abs(v), [1, 2])
np.add.outer(v, 1)
np.add.outer([1, 2], v)
np.less.outer(v, w)
np.hypot.outer(v, w)
np.multiply.outer(v, w, dtype='f4')
np.multiply.outer(v, v, out=B)
np.add.at(v, [0, 0], 1); v
np.add.at(v, [0, 0], v[1:3]); v
np.multiply.at(A, (slice(None), 1), 2); A
np.maximum.at(v, k > 0, 3); v
np.negative.at(v, [1, 2]); v
np.subtract.at(v, np.array([0, 0, 1]), [1, 2, 3]); v
np.hypot.at(v, [0], 3.0); v
np.logaddexp.at(v, [0], 3.0); v
np.sin.at(v, [0]); v
np.bitwise_or.at(k, [0], 3); k
np.divide.at(v, [0, 1], 2); v
np.add(v, k)
np.add(v, k, v)
np.add(v, k, out=v)
np.add(v, k, out=(v,))
np.add(v, k, out=np.zeros(4), where=m[0])
np.add(v, k, out=v, where=m[0])
np.add(v, k, dtype='f4')
np.add(v, k, dtype=np.float32)
np.add(v, k, dtype='f4', casting='same_kind')
np.add(v, k, dtype='i4', casting='unsafe')
np.add(v, k, signature='dd->d')
np.add(v, k, signature=('d', 'd', 'd'))
np.add(v, k, signature='ff->f', casting='unsafe')
np.add(k, k, signature=(None, None, 'd'))
np.add(A, v, order='F')
np.add(A.T, 1, order='C')
np.add(A, v, order='A')
np.add(A, v, subok=False)
np.add(A, v, subok=True)
np.sin(v, v)
np.sin(v, out=v)
np.sin(v, where=m[0], out=v)
np.sin(k, dtype='f4')
np.sin(k, dtype='f2')
np.sin(z, dtype=complex)
np.sqrt(v, where=v > 0, out=np.zeros(4))
np.exp(v, casting='unsafe', dtype='f4')
np.negative(k, order='K')
np.matmul(A, B, axes=[(0, 1), (0, 1), (0, 1)])
np.matmul(A, B, axes=[(-2, -1), (-2, -1), (-2, -1)])
np.matmul(A.T, B, axes=[(1, 0), (0, 1), (0, 1)])
np.matmul(A, B, axes=[(0, 1), (1, 0), (1, 0)])
np.matmul(A, B, order='F')
np.matmul(B, B, B)
np.matmul(B, B, dtype='f4')
np.matmul(B, B, dtype='f4', casting='same_kind')
np.matmul(B, B, signature='ff->f', casting='same_kind')
np.vecdot(A, v)
np.vecdot(A, A, axis=0)
np.vecdot(A, A, axes=[0, 0, ()])
np.vecdot(A, v, keepdims=True)
np.vecdot(A, A, axis=0, keepdims=True)
np.matvec(A, v)
np.vecmat(w, A)
np.matvec(A.T, w, axes=[(0, 1), 0, 0])
np.linalg.norm(A, axis=0, keepdims=True)
np.linalg.norm(A, 1, 0)
np.divmod(v, 2)
np.divmod(v, 2, v, w[:4])
np.divmod(v, 2, out=(v, None))
np.modf(v)
np.frexp(v)
np.modf(v, v)
np.modf(v, out=(None, v))
np.ldexp(v, k)
np.isnan(v, out=m[0])
np.isnan(v, out=v)
np.less(v, k, out=v)
np.less(v, k, dtype=bool)
np.less(v, k, signature='dd->?')
np.add([1, 2], v[:2])
v != None
k << k
k // 0
k % 0
v / 0
v % 0
v.astype('U5')
v.view('f4')
v.view(int)
np.median(A[:0])
np.std(A[:0])
np.var(A, ddof=9)
np.log(v)
np.sqrt(v)
np.arccos(v * 5)
np.exp(v * 1e5)
1 / (v * 0)
v.sum() / 0
k.sum() // 0
k.astype('i1') * 100
np.nanmean(v * np.nan)
np.nanmax(v * np.nan)
np.corrcoef(A[:1])
np.cov(A[:1])
np.linalg.lstsq(A, w)
np.trapezoid(v)
np.cross(v[:3], v[1:])
np.take(v, [9], mode='wrap')
np.tensordot(A, A)
np.kron(A, v)
np.tile(v, (2, 2))
np.histogram(v, bins='auto')
np.bincount(abs(k), weights=v)
A.T
A.mT
A.flat[3]
A.flat[2:5]
list(A.flat)[:3]
A.imag
z.imag, z.real
A.all(), A.any()
A.argmax(), A.argmin(axis=0), A.argsort(), A.argpartition(2)
A.astype('f4')
A.byteswap()
(k % 2).choose([v, v + 1])
A.clip(0, 1)
A.compress([True, False], axis=1)
z.conj(), z.conjugate()
A.copy(), A.copy('F'), A.copy(order='K')
A.cumprod(), A.cumsum(axis=1), A.cumsum(0, 'f4')
A.diagonal(), A.diagonal(1), A.diagonal(0, 1, 0)
A.dot(B), v.dot(v), A.dot(v)
A.dot(B, out=A)
A.fill(3); A
v.fill(v[0]); v
A.flatten(), A.flatten('F')
A.getfield('f4'), A.getfield('i4', 4)
A.max(), A.max(0), A.max(axis=1, keepdims=True), A.max(initial=9, where=m)
A.mean(), A.mean(1), A.mean(axis=0, dtype='f4'), A.mean(where=m)
A.min(), A.min(0)
k.nonzero(), A.nonzero()
A.partition(2); A
A.prod(), A.prod(0)
A.put([1, 2], [3, 4]); A
A.ravel(), A.ravel('F'), A.ravel('K')
A.repeat(2), A.repeat([1, 2, 1, 2], axis=1)
A.reshape(4, 6), A.reshape((4, 6)), A.reshape(-1), A.reshape(4, 6, order='F'), A.reshape(24, copy=True)
r = np.arange(4.0); r.resize(6); r
r = np.arange(4.0); r.resize((2, 2)); r
r = np.arange(4.0); r.resize(2); r
r = np.arange(4.0); r.resize(2, 3, refcheck=False); r
A.resize(3, 8); A
A.resize(24, refcheck=False); A
A.round(), A.round(2), A.round(decimals=1)
v.searchsorted([1, 2]), w.searchsorted(0.5, side='right')
A.setfield(3, 'i4'); A
v.setfield(3.0, 'f8'); v
A.sort(); A
A.sort(axis=0, kind='stable'); A
A.sort(stable=True); A
A.squeeze(), A[None].squeeze(0)
A.std(), A.std(ddof=1), A.std(0, mean=A.mean(0, keepdims=True))
A.swapaxes(0, 1)
A.take([1, 2]), A.take([0], axis=1), A.take([99], mode='clip')
A.to_device('cpu')
A.trace(), A.trace(1), A.trace(dtype='f4')
A.transpose(), A.transpose(1, 0), A.transpose((1, 0))
A.__copy__(), A.__deepcopy__({})
copy.copy(A), copy.deepcopy(A)
sum(A), max(A[0])
a, b, c, d = v; a + d
z[0].real, z[0].imag, z[0].conjugate(), abs(z[0])
r = np.array(3.0); r[...] = 4; r[()] = 5; r
r = np.array(3.0); r += 1; r
np.sum(A, out=np.array(0.0))
v[0].copy(), v[0].flatten(), v[0].reshape(1), v[0].astype('f4'), v[0].sum(), v[0].ravel()
v.sum().sum(), v.sum()[()], v.sum()[...]
v.shape = (2, 2); v
v.dtype = 'i8'; v
A.real = 0; A
z.imag = 1; z
A.flat = 1; A
A.shape = (24,); A
A.__iadd__(1); A
A.__add__(1), A.__radd__(1), A.__matmul__(B), A.__rmatmul__(w)
A.__divmod__(2)[0], divmod(v, 2), divmod(3, v)
r = np.zeros(3); r[1] = v[0]; r[[0, 2]] = v[1:3]; r
r = {}; r['x'] = A; r['x'] += 1; A
r = tuple(v); r[0]
r = list(A); r[0]
""".strip().splitlines()

# The result is right; it is a leaf that says which call made it.
LEAVES = r"""
np.mgrid[0:3, 0:2]
np.mgrid[0:1:5j]
np.ogrid[0:3, 0:2]
np.ogrid[:3]
np.r_['0,2', v, v]
np.r_[-1:1:5j]
np.c_[0:5]
np.vectorize(lambda x: str(x))(v)
np.vectorize(lambda x: x, otypes='O')(v)
np.vectorize(lambda x: x + len(dir()))(v)
r = []; np.vectorize(lambda x: r.append(x) or x)(v)
np.frompyfunc(lambda x, y: x + y, 2, 1)(v, k)
np.frompyfunc(lambda x: (x, x + 1), 1, 2)(v)
np.frombuffer(b'\x00' * 16)
np.frombuffer(v.tobytes())
np.fromstring('1 2 3', sep=' ')
np.fromiter((i * i for i in range(4)), float)
np.fromiter((x * 2 for x in v), float)
np.fromiter(v, float, 4)
np.array(v, dtype=object)
np.char.upper(np.array(['a', 'b']))
np.divmod.outer(v, [2.0, 3.0])
np.add(v, k, sig='dd->d')
np.less(v, k, dtype=object)
v == 'x'
np.array(A.flat)
r = io.BytesIO(); np.save(r, A); r.seek(0); np.load(r)
""".strip().splitlines()

# The result is a plain array (of another class, or made by code that NumPy does not show).
PLAIN = r"""
np.r_['r', v, v]
np.ix_([0, 2], [1, 3])
np.float64(v)
np.float32(A)
np.int32(A)
np.bool_(v)
np.complex128(v)
np.intp(k)
np.uint8(abs(k))
np.dtype('f4').type(v)
A.dtype.type(v)
np.matrix(A)
np.matrix(A) * np.matrix(B)
np.matrix(B).I
np.matrix(B) * v[:, None]
np.ma.array(A, mask=m)
np.ma.masked_where(m, A)
np.ma.masked_invalid(A).mean(axis=0)
np.ma.masked_array(v, v > 0) + v
np.ma.array(A, mask=m).filled(0)
np.polynomial.Polynomial(v)(w)
np.polynomial.Polynomial.fit(w, w ** 2, 2).coef
np.polynomial.Chebyshev(v).deriv().coef
np.testing.assert_array_max_ulp(v, v)
np.bmat([[B, B], [B, B]])
np.busdaycalendar(holidays=['2020-01-01']).holidays
np.rec.fromarrays([v, k], names='a,b')
np.rec.array([(1, 2.0)], dtype=[('a', int), ('b', float)]).b
np.add([1, 2], [3, 4])
np.polyfit([1.0, 1.0], [1.0, 2.0], 2)
A.view(np.ma.MaskedArray)
A.__array__(), A.__array__('f4'), A.__array__(copy=True)
np.from_dlpack(A)
r = io.BytesIO(); np.savez(r, a=A, b=v); r.seek(0); np.load(r)['b']
""".strip().splitlines()

# Python objects, text, scalars, containers of these.
ANSWERS = r"""
[0] * k[3]
k[3] * [1, 2]
(1, 2) * k[3]
k.max() * [[]]
(k[1] - k[1]) * ('a',)
k[1] * []
A += 1; s = A.T; t = s.squeeze(); (s is t, np.squeeze(t) is t, np.atleast_2d(t) is t)
r = A * 1.0; (r.squeeze() is r, np.atleast_2d(r) is r, np.real(r) is r, r.T is r)
q = np.broadcast_to(v, (2, 4)); (np.copyto(q[2:], q[:0]), q.sum())
np.broadcast_shapes(A.shape, v.shape)
np.fromfunction(lambda i: 3.0, (3,))
np.s_[1:2, ::3]
np.index_exp[1:3]
np.frompyfunc(max, 2, 1).reduce(v)
np.finfo(A.dtype).eps
np.finfo(v[0]).max
np.iinfo(k.dtype).max
np.iinfo(k[0]).max
np.float64(v[0])
np.int32(v[0])
np.float32(v.sum())
np.dtype(A.dtype)
A.dtype.type(v[0])
float(v[0])
int(k[0])
[x.item() for x in np.nditer(v)]
[x * 2 for x in np.nditer(A)]
[(i, x) for i, x in np.ndenumerate(B)]
[i for i in np.ndindex(2, 3)]
[i for i in np.ndindex(*B.shape)]
[i for i in np.ndindex(v.shape)]
np.broadcast(A, v).shape
[a + b for a, b in np.broadcast(v, k)]
np.broadcast(A, v).nd
np.ma.array(A, mask=m).sum()
np.ma.median(A)
np.testing.assert_allclose(v, v)
np.testing.assert_array_equal(A, A.T.T)
np.testing.assert_almost_equal(v, v + 1e-12)
np.testing.assert_equal(v[0], v[0])
np.testing.assert_raises(ValueError, np.linalg.inv, A[:3])
np.testing.assert_array_less(v, v + 1)
np.testing.assert_array_almost_equal(v, v)
np.testing.assert_allclose(A.sum(), A.sum())
np.testing.assert_equal({'a': v}, {'a': v})
np.testing.assert_array_almost_equal_nulp(v, v)
np.array_str(v)
np.array_repr(v)
np.array2string(v, precision=2)
np.base_repr(int(k[0]))
np.binary_repr(3, 4)
np.format_float_positional(v[0])
np.format_float_scientific(v[0])
np.isdtype(A.dtype, 'real floating')
np.issubdtype(A.dtype, np.floating)
np.promote_types(A.dtype, k.dtype)
np.result_type(A, k)
np.can_cast(A.dtype, 'f4')
np.mintypecode('df')
np.geterr()
np.unravel_index(3, (2, 3))
np.newaxis is None
np.is_busday('2020-01-01')
np.timedelta64(1, 'D') / np.timedelta64(1, 'h')
np.recarray((2,), dtype=[('a', int)]).shape
r = np.zeros(4); s = np.add.reduce(A, out=(r,)); s is r
np.add.nin
np.add.nout, np.add.nargs, np.add.ntypes, np.add.identity
np.matmul.signature
np.add.__name__
np.add.resolve_dtypes((np.dtype('f4'), np.dtype('f8'), None))
np.add(1, 2)
np.add(1, 2.5, dtype='f4')
v.item(1)
v in A
np.mean([])
np.float64(1) / np.float64(0)
np.int64(1) // np.int64(0)
np.int32(2**31 - 1) + np.int32(1)
np.uint8(200) + np.uint8(100)
A.base is None
A.T.base is A
A.data.shape
A.device
A.dtype
A.flags.writeable
A.flags.c_contiguous, A.T.flags.f_contiguous
A.flags['OWNDATA'], A[1:].flags.owndata
A.flags.num, A.flags.forc, A.flags.fnc, A.flags.behaved, A.flags.carray, A.flags.farray
str(A.flags)
repr(A.T.flags)
A.flags == A.T.flags
A.flat.base is A
A.flat.index
A.flat.coords
len(A.flat)
A.itemsize, A.nbytes, A.ndim, A.shape, A.size, A.strides
A.__array_namespace__() is not None
len(A.dumps()) > 0
len(A.tobytes()), A.tobytes('F') == A.T.tobytes()
A.item(3), A.item(1, 2), A.item((1, 2))
A.setflags(write=False); A.flags.writeable
A.tolist()
A.__len__(), A.__contains__(3.0)
A.__reduce__()[0] is not None
A.__reduce_ex__(4) is not None
A.__sizeof__() > 100
A.__class__ is np.ndarray
A.__class__
isinstance(A, np.ndarray), isinstance(v[0], np.float64), isinstance(v[0], float), isinstance(A, np.generic)
isinstance(v.sum(), (float, np.floating)), isinstance(k[0], int), isinstance(k[0], np.integer)
np.isscalar(v[0]), np.isscalar(A), np.isscalar(v.sum())
isinstance(A, list), isinstance(v[0], np.ndarray)
getattr(A, 'foo', 3)
dir(A) == dir(np.zeros(1))
k[0].__index__(), [10, 20, 30][abs(int(k[0])) % 3], list(range(9))[k[0]]
list(range(abs(k[0]) + 1))
format(v[0], '.2e'), '{:5.1f}'.format(v[1])
math.sqrt(abs(v[0])), math.exp(v[0]), math.isnan(v[0])
sum(v), max(v), min(v), sorted(v), list(reversed(v)), any(v), all(v)
list(zip(v, k)), list(enumerate(v)), list(map(abs, v))
first, *rest = A; len(rest)
v[0].item(), v[0].tolist(), v[0].dtype, v[0].shape, v[0].ndim, v[0].size, v[0].nbytes, v[0].T, v[0].real
v[0].is_integer(), v[0].as_integer_ratio(), v[0].hex(), v[0].conjugate(), v[0].imag
k[0].numerator, k[0].denominator
k[0].is_integer()
v[0].fromhex('0x1p3')
np.array(3.0) + 1, np.array(3.0)[()], np.array(3.0).item(), np.array(3.0)[...]
np.array(3.0).ndim
v[0] == v[0], v[0] is v[0], {v[0]: 1}[v[0]], hash(v[0]) == hash(float(v[0]))
v[0] < 3 < 5
A.flags.writeable = False; A.flags.writeable
A.flags['WRITEABLE'] = False; A.flags.writeable
A.__getitem__(0), A.__setitem__(0, 5.0), A[0]
np.asarray(A) is A
np.asarray(A), np.asanyarray(A) is A, np.array(A, copy=False) is A, np.ascontiguousarray(A) is A
np.asarray(A.T) is A.T
np.asarray(A, 'f4') is A
A.view() is A, A[:] is A, A.T is A.T
A is A, id(A) == id(A)
r = A; r += 1; r is A
r = A; r = r + 1; r is A
r = [A, v]; A in r[:1]
r = [A, v]; r.index(A)
bytes(v) == v.tobytes()
np.shares_memory(A, A.T), np.may_share_memory(A, A[1:]), np.shares_memory(A, A + 1)
match_ = [1 for x in v if x > 0]; match_
r = io.StringIO(); np.savetxt(r, A); len(r.getvalue())
r = set(v.tolist()); len(r)
r = {tuple(x) for x in B}; len(r)
v.tolist().index(v[2])
""".strip().splitlines()

# NumPy's error, class and text.
ERRORS = r"""
z[-1].view('i8')
v[0].view(dtype='i4')
q = np.broadcast_to(v, (2, 4)); (np.copyto(q[2:], 1.0), q)
f = np.frombuffer(v.tobytes(), dtype=np.uint8); f[0] = 1; f
np.vectorize(lambda x: x.shape)(v)
np.asarray_chkfinite(A * np.nan)
np.asarray_chkfinite(A / 0)
np.vectorize(lambda x: 1)(np.zeros((0,)))
np.vectorize(lambda x: 1 / 0)(v)
np.vectorize(lambda x: 1)(v, w)
np.fromfunction(lambda i: i)
np.fromfunction(lambda i: i, (2,), (3,))
np.fromfunction(lambda i: 1 / 0, (2,))
np.testing.assert_allclose(v, v + 1)
np.testing.assert_array_equal(v, k)
np.add(v, k, dtype='i4')
np.add(k, k, dtype='f8', casting='no')
np.add(v, [1, 2, 3])
np.add(v, 1, 2)
np.add(v)
np.add(v, 1, foo=3)
np.add(v, 1, out=3)
np.add(v, 1, out=k)
np.add(v, 1, out=w)
np.add(v, w)
np.add(A, B)
A + w
A @ w
v @ w
A @ A
np.dot(A, A)
np.concatenate([A, w])
np.stack([v, w])
A.reshape(5)
A.reshape(-1, 7)
A[10]
A[0, 0, 0]
A[:, 9]
A[[10]]
A['x']
A[1.5]
A[None, 1.5]
A[m[:3]]
A[A]
A[0] = w
A[0] = 'x'
A[9] = 1
v[5:] = [1, 2]
v[m] = 3
A.T[9]
A.sum(axis=3)
A.sum(axis='x')
A.sum(foo=1)
A.mean(axis=(0, 0))
A.foo
v.item()
v.item(9)
float(v)
int(v)
bool(v)
complex(v)
len(A.sum())
iter(A.sum())
hash(v)
v.index
if_ = 1 if (v > 0) else 2; if_
v == w
v < w
v < 'x'
v + 'x'
v + None
-m
m - m
~v
v << 1
k ** -1
np.array([1,2]) ** -1
v.astype('foo')
v.astype(int, casting='safe')
v.view('V3')
A.T.view('f4')
A.transpose(0)
A.transpose(0, 0)
A.swapaxes(0, 5)
np.moveaxis(A, 0, 5)
np.squeeze(A, 0)
np.expand_dims(v, 5)
np.broadcast_to(v, (3, 3))
np.split(v, 3)
np.linalg.inv(A)
np.linalg.inv(B * 0)
np.linalg.solve(B, w)
np.linalg.cholesky(-np.eye(3))
np.linalg.eig(A)
np.linalg.eigh(B / 0)
np.linalg.svd(v)
np.linalg.det(A)
np.argmax([])
np.max([])
np.max(A[:0])
A[:0].min(axis=0)
np.average(v, weights=w)
np.average(v, weights=v * 0)
k.astype('u1') + 300
k.astype('u1') + (-1)
np.where(m, v)
np.take(v, 9)
np.put(v, 9, 1)
np.choose(k, [v, v])
np.einsum('ij,jk', A, A)
np.einsum('ij->k', A)
np.pad(v, 2, mode='foo')
np.pad(v, -1)
np.roll(A, 1, axis=4)
np.repeat(v, -1)
np.diff(v, n=-1)
np.gradient(v[:1])
np.interp(v, [0, 1], [0])
np.searchsorted(A, 1)
np.histogram(v, bins=-1)
np.percentile(v, 101)
np.quantile(v, 2)
np.bincount(k)
np.bincount(v)
np.unravel_index(100, (2, 3))
np.fft.fft(v, n=0)
np.fft.fft(A, axis=5)
v.fill([1]); v
v.resize(8)
A.to_device('gpu')
format(v, '.2f')
round(v)
math.sqrt(v)
k[0].bit_count(), k[0].bit_length()
v.sum()[0]
v.sum().foo
v.sum().shape = 3
A.imag = 0; A
np.cross(v[:2], v[2:])
A.shape = (5,); A
A.flags.writeable = False; A[0] = 1
A.setflags(write=False); A.sort()
A.flags.writeable = False; A.partition(1)
A.sum(axis=[0])
v[1] * [1, 2]
[1, 2] * v[1]
(v[1] > 0) * [1, 2]
np.add.reduce(A, axis=[])
np.max(A, axis=np.array([0, 1]))
np.linalg.vector_norm(A, axis=[0, 1])
np.squeeze(A[None], axis=[0])
(A * 2).mean(axis=[0])
A.transpose(v)
A.reshape(v)
np.piecewise(v, [], [])
np.piecewise(v, [], [1, 2])
np.busday_count(v, np.array(['2024-01-01'], 'M8[D]'))
""".strip().splitlines()

# Waiting does not show: warnings name the line, errors come where they would.
WAITING = r"""
r = v / 0; s = r + 1; s
r = np.log(v); s = np.sqrt(-abs(v)); r + s
r = (v * 1e300).astype('f4'); r * 2
r = (v * np.nan).astype(int); r + 1
r = np.exp(v * 1e5) - np.exp(v * 1e5); r
np.seterr(divide='ignore'); r = v / 0; np.seterr(divide='warn'); r
f = np.errstate(divide='ignore'); f.__enter__(); r = v / 0; f.__exit__(None, None, None); r + 1
f = np.errstate(invalid='ignore'); f.__enter__(); r = np.log(v); f.__exit__(None, None, None); r / 0
f = np.errstate(all='raise'); f.__enter__(); r = v / 0; r
r = v + 1; s = r + w; s
r = A * 2; s = r @ w; s
r = A + 1; s = r[9]; s
r = A + 1; s = r.sum(axis=4); s
r = A * 1; s = np.linalg.inv(r); s
r = B * 0; s = np.linalg.inv(r); s
r = v * 2; s = r; r += 1; (r is s, s)
r = v * 2; s = r.copy(); r += 1; (r is s, id(r) == id(s), s)
r = B @ B; n = [0]; [n.append(i) for i in range(9) if (np.divide(r, i + 1, out=r).max() > 0.1)]; n
""".strip().splitlines()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", [*TRACED, *LEAVES, *PLAIN, *ANSWERS, *ERRORS, *WAITING])
def test_nobody_can_tell(line):
    compare(line, said=lima.__compiled__)


@pytest.mark.parametrize("line", TRACED)
def test_the_lineage_is_kept(line):
    assert how(line) <= {"traced", "other"}


@pytest.mark.parametrize("line", LEAVES)
def test_a_leaf_says_where_it_comes_from(line):
    (why,) = how(line) - {"other"}
    assert ": " in why or " with " in why


UFUNC_KEYWORDS = {
    "out", "where", "axes", "axis", "keepdims", "casting", "order", "dtype", "subok", "signature",
    "sig", "initial", "array", "indices", "kwargs", "a", "b", "x", "x1", "x2", "out1", "out2",
}  # fmt: skip
"""Keywords of universal functions and their methods that the tables above use, or that name operands."""

METHODS = ("reduce", "accumulate", "reduceat", "outer", "at")

UFUNC_ATTRIBUTES = {
    "reduce", "accumulate", "reduceat", "outer", "at", "resolve_dtypes",
    "_resolve_dtypes_and_context", "_get_strided_loop", "nin", "nout", "nargs", "ntypes", "types",
    "identity", "signature",
}  # fmt: skip


def test_a_new_attribute_of_universal_functions_is_noticed():
    """What a new NumPy adds fails here first: it needs a line above."""
    assert {name for name in vars(np.ufunc) if not name.startswith("__")} <= UFUNC_ATTRIBUTES


GENERATORS_OWN = {
    "bit_generator", "spawn", "get_state", "set_state", "seed", "_bit_generator", "_poisson_lam_max",
}  # fmt: skip
"""What a generator has besides its draws."""


@pytest.mark.parametrize("interface", ["Generator", "RandomState"])
def test_a_new_method_of_generators_is_noticed(interface):
    names = {n for n in dir(getattr(np.random, interface)) if n[:2] != "__"}
    assert names - set(METHODS_OF_GENERATORS[interface]) <= GENERATORS_OWN


def test_a_new_keyword_of_universal_functions_is_noticed():
    """The keywords are those that NumPy's own texts name, in the first line of each."""
    functions = (np.add, np.matmul, np.frexp, *(getattr(np.ufunc, m) for m in METHODS))
    said = " ".join(str(f.__doc__).split("\n\n")[0] for f in functions)
    named = set(re.findall(r"\b([a-z]\w*)(?==|[,\])])", said))
    assert {"where", "axes", "initial"} <= named <= UFUNC_KEYWORDS
