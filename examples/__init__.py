"""Plain NumPy programs on which lima is shown; see README.md in this folder."""
