//go:build cgo && !purego

package main

// #include <stdlib.h>
// #ifdef __GLIBC__
// #include <malloc.h>
// static void few_arenas(void) { mallopt(M_ARENA_MAX, 1); }
// static void give_back(void) { malloc_trim(0); }
// #else
// static void few_arenas(void) {}
// static void give_back(void) {}
// #endif
import "C"

// Calls from Go come on many threads, for each of which glibc would make a heap of its own, up to eight per core: what
// was freed in one is of no use to the others, so the process grew for a long time. The library allocates when it loads
// and when a request begins, not while it computes, so one heap is enough.
func init() { C.few_arenas() }

// giveBack gives the system what is free in C's heap, where a model was.
func giveBack() { C.give_back() }
