"""Random draws in the store: the array that was drawn, and the state of the generator after it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from lima.entries import Entry
from lima.errors import NotCanonical
from lima.node import Node
from lima.objects import Broken
from lima.ops.random import generator_in, state_of
from lima.plainly import FAULTS, read_words, words_of
from lima.sessions import LEVEL, Session


def find(here: Session, node: Node, generator: Any) -> Entry | None:
    """A draw from the store, and into memory: what was drawn, and the state that it left."""
    store = here.store
    found = None if store is None else here.find_stored(node)
    if store is None or found is None or found.kind != "draw":
        return None
    parts = store.read(found)
    if parts is None:
        return None
    try:
        pair = parts[0], _state(parts[1].tobytes(), generator)
    except FAULTS as error:
        store.refuse(found, error)
        return None
    here.counts.store_hits += 1
    here.cache.stats.seconds_saved += found.seconds
    key, seconds, height = found.key, found.seconds, node.height
    least = max(seconds, here.cache.worth)
    here.cache.put(key, pair, seconds=least, height=height, owned=True, first_sight=0.0)
    return Entry(key, pair, ((), (), 0, 0), seconds, height, LEVEL)


def _state(text: bytes, generator: Any) -> Any:
    """A state that `generator` can be put into; raises Broken or another of `FAULTS`."""
    state = read_words(json.loads(text))
    present = state_of(generator)
    kinds = [(s["interface"], s["bit_generator"]) for s in (state, present)]
    if kinds[0] != kinds[1] or set(state) != set(present):
        raise Broken("it is the state of another generator")
    generator_in(state)
    return state


def _text(state: Any) -> bytes:
    return json.dumps(words_of(state)).encode()


def offer(here: Session, node: Node, pair: tuple[Any, Any], seconds: float) -> bool:
    """Have a draw written; whether what was drawn is shared from now on."""
    store = here.store
    if store is None or node.inexact or type(pair[0]) is not np.ndarray:
        return False
    try:
        text = _text(pair[1])
    except NotCanonical:
        return False
    values = pair[0], np.frombuffer(text, np.uint8).copy()
    return store.put("draw", node.digest, node.height, values, seconds, (node,))
