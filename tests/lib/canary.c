#include "tests/lib/canary.h"

#include "base/canary.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef CANARIES
static bool is_named(const char *id, const char *name)
{
    for (; *id != '\0' && *name != '\0'; id++, name++) {
        char want = *id == '_' ? '-' : (char)(*id >= 'A' && *id <= 'Z' ? *id - 'A' + 'a' : *id);
        if (*name != want) {
            return false;
        }
    }
    return *id == '\0' && *name == '\0';
}
#endif

void canary_from_environment(void)
{
    const char *name = getenv("CANARY");
    if (name == NULL) {
        return;
    }
#ifdef CANARIES
    static const char *const ids[] = {"",
#define CANARY_ID(id, text) #id,
                                      CANARY_MAP(CANARY_ID)
#undef CANARY_ID
    };
    for (unsigned i = 1; i < CANARY_COUNT; i++) {
        if (is_named(ids[i], name)) {
            canary_planted = (enum canary)i;
            return;
        }
    }
#endif
    (void)fprintf(stderr, "CANARY=%s: no such canary, or not a build with them\n", name);
    exit(2);
}
