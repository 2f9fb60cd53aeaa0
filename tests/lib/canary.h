/* Plants the canary that the environment names (CANARY=forget-vote, MODE=canary only). Nothing without it. */
#pragma once

void canary_from_environment(void);
