"""Heat equation on a plate: slices on both sides, buffers that are swapped, out= everywhere."""


def step(np, u, new, flux, alpha):
    new[1:-1, 1:-1] = u[1:-1, 1:-1] + alpha * (
        u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * u[1:-1, 1:-1]
    )
    np.subtract(u[1:, :], u[:-1, :], out=flux[1:])
    flux[0] = flux[1]
    new[0, :], new[-1, :] = new[1, :], new[-2, :]
    new[:, 0] = new[:, 1]
    new.T[-1] = new.T[-2]
    return new, u


def main(np, scale=1.0):
    n = max(int(120 * scale), 12)
    x = np.linspace(0, 1, n)
    X, Y = np.meshgrid(x, x, indexing="ij")
    out = {}
    for name, alpha in (("slow", 0.1), ("fast", 0.24)):
        u = np.exp(-40 * ((X - 0.3) ** 2 + (Y - 0.6) ** 2))
        u[(X > 0.7) & (Y < 0.3)] = 1.0
        new, flux = u.copy(), np.zeros_like(u)
        history = []
        for it in range(40):
            u, new = step(np, u, new, flux, alpha)
            if it % 5 == 0:
                history.append([u.sum(), u.max(), np.abs(flux).mean()])
            if it == 20:
                u *= 0.5
                u[n // 2, n // 3 : -1] += np.arange(n - 1 - n // 3) / n
        gy, gx = np.gradient(u)
        out["history_" + name] = np.array(history)
        out["final_" + name] = u
        out["steepest_" + name] = np.unravel_index(np.argmax(np.hypot(gx, gy)), u.shape)
    out["profile"] = u[n // 2] - u[:, n // 2]
    return out
