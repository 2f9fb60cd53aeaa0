/* balsad: reads its options, runs the broker. */

#include "base/process.h"
#include "base/trace.h"
#include "broker/http_page.h"
#include "broker/threads.h"
#include <stdio.h>
#include <string.h>

extern char **environ;

static int usage_error(const char *text)
{
    (void)fprintf(stderr, "balsad: %s\nTry 'balsad --help'.\n", text);
    return 2;
}

static int load_flags(struct options *options, int argc, char **argv, struct errmsg *msg)
{
    for (int i = 1; i < argc; i++) {
        char key[256];
        bool is_set = strcmp(argv[i], "--set") == 0;
        bool is_config = strcmp(argv[i], "--config") == 0;
        if (!is_set && !is_config) {
            (void)fail(msg, ERR_INVALID, "unknown argument '%s'", argv[i]);
            return 1;
        }
        if (++i == argc) {
            (void)fail(msg, ERR_INVALID, "%s needs %s", argv[i - 1], is_set ? "key=value" : "a file");
            return 1;
        }
        if (is_config) {
            continue; /* read before the environment */
        }
        const char *equals = strchr(argv[i], '=');
        if (equals == NULL || (size_t)(equals - argv[i]) >= sizeof(key)) {
            (void)fail(msg, ERR_INVALID, "--set %s: expected key=value", argv[i]);
            return 1;
        }
        memcpy(key, argv[i], (size_t)(equals - argv[i]));
        key[equals - argv[i]] = '\0';
        if (options_set(options, key, equals + 1, OPTION_FLAG, "--set", msg) != OK) {
            return 1;
        }
    }
    return 0;
}

static int load_files(struct options *options, int argc, char **argv, struct errmsg *msg)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && options_load_file(options, argv[i + 1], msg) != OK) {
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options options;
    struct errmsg msg = {""};
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)printf(
            "usage: balsad [--config server.properties] [--set key=value]...\n\n"
            "A broker of a Balsa cluster. Without any configuration: a cluster of one, data in ./balsa-data.\n\n");
        options_print_help();
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help=markdown") == 0) {
        options_print_markdown(stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help=metrics") == 0) {
        http_print_markdown(stdout);
        return 0;
    }
    options_init(&options);
    if (load_files(&options, argc, argv, &msg) != 0 || options_load_environment(&options, environ, &msg) != OK ||
        load_flags(&options, argc, argv, &msg) != 0 || options_finish(&options, &msg) != OK) {
        return usage_error(msg.text);
    }
    if (!trace_set_level_text("all", options.log_level)) {
        return usage_error("balsa.log.level: expected debug, info, warn or error");
    }
    int code = threads_run(&options);
    options_deinit(&options);
    if (code == THREADS_AGAIN) {
        process_start_again(argv, &msg);
        (void)fprintf(stderr, "balsad: cannot start again by itself, start it: %s\n", msg.text);
        return 1;
    }
    return code;
}
