//go:build cgo && !purego

package abi

/*
#include <stddef.h>
#include <stdint.h>

void rekindleGoLog(uintptr_t, int32_t, char *);
int32_t rekindleGoProgress(uintptr_t, float);
int32_t rekindleGoPiece(uintptr_t, int32_t, char *, size_t);
int32_t rekindleGoCandidates(uintptr_t, void *, size_t *);

static inline uintptr_t go_log_fn(void) { return (uintptr_t)rekindleGoLog; }
static inline uintptr_t go_progress_fn(void) { return (uintptr_t)rekindleGoProgress; }
static inline uintptr_t go_piece_fn(void) { return (uintptr_t)rekindleGoPiece; }
static inline uintptr_t go_candidates_fn(void) { return (uintptr_t)rekindleGoCandidates; }
*/
import "C"

// The addresses of the callbacks, for C.
var (
	LogFn        = uintptr(C.go_log_fn())
	ProgressFn   = uintptr(C.go_progress_fn())
	PieceFn      = uintptr(C.go_piece_fn())
	CandidatesFn = uintptr(C.go_candidates_fn())
)

// Open makes sure that the library is there. It is linked.
func Open() error { return nil }
