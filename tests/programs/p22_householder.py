"""Householder QR, back substitution and a Hessenberg form, in place on views of one matrix."""


def householder(np, x):
    v = x.astype(float)
    sigma = np.linalg.norm(v)
    v[0] += np.copysign(sigma, v[0])
    size = np.sqrt(v @ v)
    if size > 0:
        v /= size
    return v


def qr_in_place(np, A):
    m, n = A.shape
    vs = []
    for k in range(min(m - 1, n)):
        v = householder(np, A[k:, k])
        A[k:, k:] -= 2.0 * np.outer(v, v @ A[k:, k:])
        vs.append(v)
    return vs


def apply_q(np, vs, B, transpose=True):
    order = range(len(vs)) if transpose else reversed(range(len(vs)))
    for k in order:
        B[k:] -= 2.0 * np.outer(vs[k], vs[k] @ B[k:])
    return B


def back_substitute(np, R, b):
    x = np.zeros(b.shape)
    for i in range(len(b) - 1, -1, -1):
        x[i] = (b[i] - R[i, i + 1 :] @ x[i + 1 :]) / R[i, i]
    return x


def main(np, scale=1.0):
    n = max(int(60 * scale), 6)
    rng = np.random.default_rng(31)
    A = rng.standard_normal((2 * n, n))
    B = rng.standard_normal((2 * n, 3))
    R = A.copy()
    vs = qr_in_place(np, R)
    QtB = apply_q(np, vs, B.copy())
    x = back_substitute(np, R[:n], QtB[:n])
    residual = B - A @ x
    H = A[:n] + A[:n].T
    for k in range(n - 2):
        v = householder(np, H[k + 1 :, k])
        H[k + 1 :] -= 2 * np.outer(v, v @ H[k + 1 :])
        H[:, k + 1 :] -= 2 * np.outer(H[:, k + 1 :] @ v, v)
    H[np.abs(H) < 1e-12] = 0
    return {
        "x": x,
        "lstsq": np.linalg.lstsq(A, B, rcond=None)[0],
        "R": np.triu(R[:n]),
        "Q": apply_q(np, vs, np.eye(2 * n)[:, :n].copy(), transpose=False),
        "residual": np.sqrt((residual**2).sum(axis=0)),
        "bands": np.array([np.diagonal(H, k).sum() for k in (-2, -1, 0, 1, 2)]),
        "eigenvalues": np.sort(np.linalg.eigvalsh(A[:n] + A[:n].T)),
    }
