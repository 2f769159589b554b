class Buffered:
    __slots__ = ()
