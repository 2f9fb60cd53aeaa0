/* Memory of long-lived objects. Never returns NULL: bounded memory is a matter of budgets at admission, and a
 * failed small allocation ends the process (process_stop). */
#pragma once

#include <stddef.h>

/* 1 where AddressSanitizer watches the heap: memory that is kept for reuse would hide its errors. */
#if defined(__SANITIZE_ADDRESS__)
#define MEM_IS_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_IS_WATCHED 1
#endif
#endif
#ifndef MEM_IS_WATCHED
#define MEM_IS_WATCHED 0
#endif

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));          /* zeroed; size > 0 */
void *mem_alloc_raw(size_t size) __attribute__((malloc, returns_nonnull));      /* not zeroed */
void *mem_resize(void *memory, size_t size) __attribute__((returns_nonnull));   /* memory may be NULL */
void *mem_aligned(size_t alignment, size_t size) __attribute__((returns_nonnull)); /* zeroed */
void *mem_aligned_raw(size_t alignment, size_t size) __attribute__((returns_nonnull)); /* not zeroed */
char *mem_strdup(const char *text) __attribute__((returns_nonnull));
void mem_free(void *memory);                                                    /* NULL is allowed */

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define array_count(array) (sizeof(array) / sizeof((array)[0]))
