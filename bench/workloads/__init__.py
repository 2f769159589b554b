"""The measured programs, one module each.

Every module has three functions, and knows nothing of lima:

* ``data(**shape)`` makes the arguments (fixed seeds, so every run sees the same numbers);
* ``plain(*arguments)`` is an ordinary NumPy program that recomputes everything per setting;
* ``hand(*arguments)`` does the same job with every shared product computed once (``None`` where
  nothing is shared).

The harness loads each file twice and puts ``lima.traced`` on the second copy of ``plain``, so the
measured lima program is this very source, and the plain one runs on a module lima never touched.
"""
