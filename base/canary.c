#include "base/canary.h"

#ifdef CANARIES
enum canary canary_planted;
#endif
