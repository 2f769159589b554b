/* Vectors of 64 bytes, and functions that are compiled for several processors. */
#ifndef LIMA_LANES_H
#define LIMA_LANES_H

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && defined(__x86_64__) \
    && defined(__ELF__) && defined(__GLIBC__)
#define LIMA_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define LIMA_CLONES
#endif

#ifdef __GNUC__
#define LIMA_LANES(REAL) \
    typedef REAL lima_lanes_##REAL __attribute__((vector_size(64), aligned(sizeof(REAL)), may_alias));
#else
#define LIMA_LANES(REAL) typedef struct { REAL e[64 / sizeof(REAL)]; } lima_lanes_##REAL;
#endif

#endif
