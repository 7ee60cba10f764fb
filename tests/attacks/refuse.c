/* Loaded before everything else (LD_PRELOAD), this counts what a program asks the system for, and refuses one of it.
 *
 * There are three kinds: memory (malloc and its like), mappings (mmap), and other calls (open, read, pthread_create).
 * refuse_arm(kind, k) begins to count anew and refuses the k-th; k = 0 refuses none. refuse_all(kind) refuses all from
 * now on. refuse_seen(kind) tells how many there were. refuse_live() is the number of blocks that are in use.
 *
 * Memory that the C library asks for itself is not refused: it ends the process when it has no 32 bytes to remember the
 * destructor of a thread's variable, whoever uses it. (Threads of rekindle look for memory before they begin.) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { MEMORY, MAPPINGS, CALLS, KINDS };

static atomic_long seen[KINDS], refused_at[KINDS], live;

void refuse_arm(int kind, long k) {
  atomic_store(&seen[kind], 0);
  atomic_store(&refused_at[kind], k);
}
void refuse_all(int kind) { atomic_store(&refused_at[kind], -1); }
long refuse_seen(int kind) { return atomic_load(&seen[kind]); }
long refuse_live(void) { return atomic_load(&live); }

/* The C library's code. */
static uintptr_t libc_from, libc_to;
static int find_libc(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size, (void)unused;
  uintptr_t probe = (uintptr_t)&getpid;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    uintptr_t from = info->dlpi_addr + p->p_vaddr;
    if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && probe >= from && probe - from < p->p_memsz)
      libc_from = from, libc_to = from + p->p_memsz;
  }
  return 0;
}
__attribute__((constructor)) static void find(void) { dl_iterate_phdr(find_libc, NULL); }

static int refuse(int kind);
static int refuse_block(void *caller) {
  uintptr_t at = (uintptr_t)caller;
  return !(at >= libc_from && at < libc_to) && refuse(MEMORY);
}
#define REFUSED refuse_block(__builtin_return_address(0))

static int refuse(int kind) {
  long n = atomic_fetch_add(&seen[kind], 1) + 1, at = atomic_load(&refused_at[kind]);
  return at == -1 || (at > 0 && n == at);
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static void *counted(void *p) {
  if (p) atomic_fetch_add(&live, 1);
  return p;
}
static void *none(void) {
  errno = ENOMEM;
  return NULL;
}

void *malloc(size_t n) { return REFUSED ? none() : counted(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return REFUSED ? none() : counted(__libc_calloc(n, size)); }
void *memalign(size_t align, size_t n) { return REFUSED ? none() : counted(__libc_memalign(align, n)); }
void *aligned_alloc(size_t align, size_t n) {
  return REFUSED ? none() : counted(__libc_memalign(align, n));
}
int posix_memalign(void **p, size_t align, size_t n) {
  void *block = REFUSED ? NULL : counted(__libc_memalign(align, n));
  if (!block) return ENOMEM;
  *p = block;
  return 0;
}
void *realloc(void *p, size_t n) {
  if (REFUSED) return none();
  void *new = __libc_realloc(p, n);
  if (new && !p) atomic_fetch_add(&live, 1);
  return new;
}
void free(void *p) {
  if (p) atomic_fetch_sub(&live, 1);
  __libc_free(p);
}

/* The next definition of a function; looked up at the first call, before anything is refused. */
#define NEXT(name)                                                                                             \
  static __typeof__(&name) next;                                                                               \
  if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name)

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
  NEXT(mmap);
  if (refuse(MAPPINGS)) return errno = ENOMEM, MAP_FAILED;
  return next(at, n, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
  return mmap(at, n, protection, flags, fd, offset);
}
int open64(const char *path, int flags, ...) {
  NEXT(open64);
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int);
  va_end(list);
  if (refuse(CALLS)) return errno = EMFILE, -1;
  return next(path, flags, mode);
}
int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int);
  va_end(list);
  return open64(path, flags, mode);
}
ssize_t read(int fd, void *to, size_t n) {
  NEXT(read);
  if (refuse(CALLS)) return errno = EIO, -1;
  return next(fd, to, n);
}
ssize_t pread64(int fd, void *to, size_t n, off_t offset) {
  NEXT(pread64);
  if (refuse(CALLS)) return errno = EIO, -1;
  return next(fd, to, n, offset);
}
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  NEXT(pthread_create);
  if (refuse(CALLS)) return EAGAIN;
  return next(thread, attributes, start, argument);
}
