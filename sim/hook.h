/* hook.h -- included first by every file of the library in the simulated build
 *
 * Each access to a shared word, each allocation and each mutex goes through the simulator, which
 * may let another process run there, kill this one, or refuse the memory. */
#ifndef HOOK_H
#define HOOK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A shared word is about to be touched. */
void sim_point(const volatile void *word);

/* In some worlds the catalog is rewritten all the time. */
uint64_t sim_snapshot_bytes(void);
#define CATALOG_SNAPSHOT_BYTES sim_snapshot_bytes()

void *sim_malloc(size_t bytes);
void *sim_calloc(size_t count, size_t bytes);
void *sim_realloc(void *memory, size_t bytes);
void *sim_aligned_alloc(size_t alignment, size_t bytes);
void sim_free(void *memory);
#define malloc sim_malloc
#define calloc sim_calloc
#define realloc sim_realloc
#define aligned_alloc sim_aligned_alloc
#define free sim_free

int sim_mutex_init(pthread_mutex_t *mutex, const void *attributes);
int sim_mutex_lock(pthread_mutex_t *mutex);
int sim_mutex_trylock(pthread_mutex_t *mutex);
int sim_mutex_unlock(pthread_mutex_t *mutex);
#define pthread_mutex_init sim_mutex_init
#define pthread_mutex_lock sim_mutex_lock
#define pthread_mutex_trylock sim_mutex_trylock
#define pthread_mutex_unlock sim_mutex_unlock
#define pthread_mutex_destroy(mutex) ((void)(mutex))

/* gcc's and clang's own operations; the arguments have no side effects that matter twice. */
#ifdef __clang__
#define HOOK(operation) __c11_atomic_##operation
#define HOOK_SWAP(p, e, v, s, f, weak) __c11_atomic_compare_exchange_##weak(p, e, v, s, f)
#else
#define HOOK(operation) HOOK_##operation
#define HOOK_exchange(p, v, o) __atomic_exchange_n(p, v, o)
#define HOOK_fetch_add(p, v, o) __atomic_fetch_add(p, v, o)
#define HOOK_fetch_or(p, v, o) __atomic_fetch_or(p, v, o)
#define HOOK_fetch_and(p, v, o) __atomic_fetch_and(p, v, o)
#define HOOK_strong 0
#define HOOK_weak 1
#define HOOK_SWAP(p, e, v, s, f, weak) __atomic_compare_exchange_n(p, e, v, HOOK_##weak, s, f)
#endif

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add
#undef atomic_fetch_or
#undef atomic_fetch_and
#undef atomic_thread_fence

#ifdef __clang__
#define atomic_load_explicit(p, o) (sim_point(p), HOOK(load)(p, o))
#define atomic_store_explicit(p, v, o) (sim_point(p), HOOK(store)(p, v, o))
#else /* the point is in the macros at the end */
#define atomic_load_explicit(p, o) __atomic_load_n(p, o)
#define atomic_store_explicit(p, v, o) __atomic_store_n(p, v, o)
#endif
#define atomic_load(p) atomic_load_explicit(p, memory_order_seq_cst)
#define atomic_store(p, v) atomic_store_explicit(p, v, memory_order_seq_cst)
#define atomic_exchange_explicit(p, v, o) (sim_point(p), HOOK(exchange)(p, v, o))
#define atomic_exchange(p, v) atomic_exchange_explicit(p, v, memory_order_seq_cst)
#define atomic_compare_exchange_strong_explicit(p, e, v, s, f)                                     \
    (sim_point(p), HOOK_SWAP(p, e, v, s, f, strong))
#define atomic_compare_exchange_strong(p, e, v)                                                    \
    atomic_compare_exchange_strong_explicit(p, e, v, memory_order_seq_cst, memory_order_seq_cst)
#define atomic_compare_exchange_weak(p, e, v) atomic_compare_exchange_strong(p, e, v)
#define atomic_fetch_add(p, v) (sim_point(p), HOOK(fetch_add)(p, v, memory_order_seq_cst))
#define atomic_fetch_or(p, v) (sim_point(p), HOOK(fetch_or)(p, v, memory_order_seq_cst))
#define atomic_fetch_and(p, v) (sim_point(p), HOOK(fetch_and)(p, v, memory_order_seq_cst))
#define atomic_thread_fence(o) (sim_point(NULL), __atomic_thread_fence(o))

/* The tails of cells are not _Atomic; a macro is not expanded inside of itself. */
#define __atomic_load_n(p, o) (sim_point(p), __atomic_load_n(p, o))
#define __atomic_store_n(p, v, o) (sim_point(p), __atomic_store_n(p, v, o))

#endif
