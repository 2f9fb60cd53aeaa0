/* What every implementation of base/kv.h has to do: LMDB's (base/kv.c) and the simulator's (tests/lib/sim_kv.c) are run
 * through the same cases. Which of them is tested is a matter of linking. */
#pragma once

#include "base/kv.h"
#include "tests/lib/test.h"

struct case_place { /* where stores can be made: each case has an empty directory of its own */
    char *(*make)(void);
    void (*remove)(char *path);
};

/* The cases; more may be added to the result, with the fixture below around them. */
TCase *case_all(const struct case_place *place);

/* Of the case that is running. */
extern char *case_dir;
extern struct kv *case_kv; /* open on it, KV_ORDERED, at most 16 MiB; a case may replace it */

struct kv *case_open(const char *path, size_t size_max);
struct bytes case_text(const char *value);
void case_put(struct kv_txn *txn, const char *key, const char *value);
void case_put_now(const char *key, const char *value);
const char *case_get(struct kv_txn *txn, const char *key); /* the value (in static memory), or the name of the error */
const char *case_get_now(const char *key);
