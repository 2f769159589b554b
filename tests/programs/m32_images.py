"""Images: bytes that wrap around, filters by FFT and by windows, histograms, einsum over channels."""
import numpy as np


def picture(h, w):
    y, x = np.mgrid[:h, :w]
    img = np.stack([x * 5 % 256, y * 7 % 256, (x ^ y) % 256], axis=-1).astype(np.uint8)
    img[h // 4:h // 2, w // 4:w // 2] += 90
    return img


def blur(a, sigma):
    n = int(3 * sigma)
    k = np.exp(-np.arange(-n, n + 1) ** 2 / (2 * sigma ** 2))
    k /= k.sum()
    padded = np.pad(a, n, mode="reflect")
    rows = np.apply_along_axis(np.convolve, 1, padded, k, mode="valid")
    return np.apply_along_axis(np.convolve, 0, rows, k, mode="valid")


def spectrum(a):
    F = np.fft.fftshift(np.fft.fft2(a - a.mean()))
    return np.log1p(np.abs(F))


def equalise(a):
    counts, _ = np.histogram(a, bins=256, range=(0, 256))
    curve = counts.cumsum()
    curve = (curve - curve[0]) * 255 // (a.size - curve[0])
    return curve.astype(np.uint8)[a]


def corners(a):
    gy, gx = np.gradient(a)
    S = np.array([[blur(gx * gx, 1), blur(gx * gy, 1)], [blur(gx * gy, 1), blur(gy * gy, 1)]])
    M = np.moveaxis(S, (0, 1), (-2, -1))
    response = np.linalg.det(M) - 0.05 * np.trace(M, axis1=-2, axis2=-1) ** 2
    best = np.argpartition(response.ravel(), -5)[-5:]
    return response, np.sort(best)


def main():
    img = picture(32, 40)
    grey = np.einsum("ijk,k->ij", img, [0.299, 0.587, 0.114])
    soft = blur(grey, 1.5)
    sharp = np.clip(grey + 1.5 * (grey - soft), 0, 255).astype(np.uint8)
    response, best = corners(grey / 255)
    noisy = img.copy()
    noisy[::5, ::7] = 255
    noisy[..., 1] ^= 0x0F
    median = np.median(np.lib.stride_tricks.sliding_window_view(noisy[..., 0], (3, 3)), axis=(2, 3))
    mask = (grey > grey.mean()) & (sharp > 100)
    ys, xs = np.where(mask)
    tiles = img[:32, :40].reshape(4, 8, 5, 8, 3).mean(axis=(1, 3))
    return {"soft": soft, "sharp": sharp, "spectrum": spectrum(soft), "equal": equalise(sharp), "best": best,
            "response": response, "median": median, "centre": np.array([ys.mean(), xs.mean()]), "tiles": tiles,
            "wrapped": img.sum(axis=(0, 1), dtype=np.uint8), "flipped": img[:, ::-1][5, 3], "noisy": noisy[..., 1]}
