/* The tables as text: for a terminal, and as docs/CONFIGURATION.md. */

#include "broker/options.h"
#include <stdio.h>

static const char *use_text(enum config_use use)
{
    switch (use) {
    case CONFIG_HONOURED:
        return "yes";
    case CONFIG_NO_EFFECT:
        return "no effect";
    case CONFIG_DEFAULT_ONLY:
        return "default only";
    }
    return "";
}

/* "" as an empty text is hard to see. */
static const char *shown_default(const char *text)
{
    return text == NULL ? "not set" : text[0] == '\0' ? "empty" : text;
}

void options_print_help(void)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    (void)printf("Options, as key=value in a file, BALSA_<KEY WITH _ FOR .> in the environment, or --set key=value;\n"
                 "later ones win in this order:\n\n");
    for (size_t i = 0; i < count; i++) {
        (void)printf("  %s (%s, %s%s%s)\n      %s\n", keys[i].name, config_type_name(keys[i].type),
                     shown_default(keys[i].default_text), keys[i].alias != NULL ? ", also " : "",
                     keys[i].alias != NULL ? keys[i].alias : "", keys[i].documentation);
    }
}

static void print_broker_table(FILE *out)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    (void)fprintf(out, "| key | type | default | honoured | meaning | values |\n|--|--|--|--|--|--|\n");
    for (size_t i = 0; i < count; i++) {
        char expected[160];
        config_expected(keys[i].type, &keys[i].rule, expected, sizeof(expected));
        (void)fprintf(out, "| `%s`%s%s%s | %s | %s | %s | %s | %s |\n", keys[i].name,
                      keys[i].alias != NULL ? ", `" : "", keys[i].alias != NULL ? keys[i].alias : "",
                      keys[i].alias != NULL ? "`" : "", config_type_name(keys[i].type),
                      shown_default(keys[i].default_text), use_text(keys[i].use), keys[i].documentation, expected);
    }
}

static void print_topic_table(FILE *out)
{
    size_t count;
    const struct topic_config_key *keys = topic_config_keys(&count);
    (void)fprintf(out,
                  "| key | type | default | honoured | meaning | values | broker's key |\n|--|--|--|--|--|--|--|\n");
    for (size_t i = 0; i < count; i++) {
        char expected[160];
        config_expected(keys[i].type, &keys[i].rule, expected, sizeof(expected));
        (void)fprintf(out, "| `%s` | %s | %s | %s | %s | %s | %s |\n", keys[i].name, config_type_name(keys[i].type),
                      shown_default(keys[i].default_value), use_text(keys[i].use), keys[i].documentation, expected,
                      keys[i].broker_key != NULL ? keys[i].broker_key : "");
    }
}

void options_print_markdown(FILE *out)
{
    (void)fprintf(
        out,
        "# Configuration\n\n"
        "Printed by `balsad --help=markdown`; a test compares.\n\n"
        "## Broker\n\n"
        "Keys are Kafka's where Kafka has one, and `balsa.*` for what is Balsa's own. They come from a file in the\n"
        "format of `server.properties` (`--config FILE`), from the environment (`BALSA_NODE_ID` is `node.id`,\n"
        "`BALSA_SHARDS` is `balsa.shards`), and from `--set key=value`; later ones win in this order. A key that\n"
        "Balsa does not know, or that it could only ignore to the user's harm (security, ZooKeeper, quotas),\n"
        "stops the start with a message that names key, value and place. A key that is set without effect is\n"
        "traced as a warning.\n\n");
    print_broker_table(out);
    (void)fprintf(
        out,
        "\n## Topics\n\n"
        "Given when a topic is created. A topic that does not set a key has the broker's value, else the default.\n"
        "Unknown keys and bad values are refused with INVALID_CONFIG.\n\n");
    print_topic_table(out);
}
