"""Measurements of lima: whole programs, single operations, and the budgets they are held to.

Run ``python -m bench`` from the root of the repository; ``bench/README.md`` says how to read it.
"""
