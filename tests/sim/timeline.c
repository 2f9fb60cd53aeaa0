/* A band for each broker: its state as background (runs, paused, down), a line for each group that shows where it led,
 * labelled with the term; faults above; acknowledgements below. */
#include "tests/sim/timeline.h"

#include <stdio.h>

enum {
    WIDTH = 1600,
    LEFT = 90,
    TOP = 60,
    LINE = 12,
    LINES_MAX = 10, /* groups drawn per broker */
    ACKS_HEIGHT = 60,
    GAP = 16
};

struct drawing {
    FILE *file;
    const struct timeline *timeline;
    unsigned lines;
    uint64_t groups[LINES_MAX];
    unsigned group_count;
};

static double x_of(const struct drawing *drawing, int64_t at_us)
{
    return LEFT + (double)at_us * (WIDTH - LEFT - 10) / (double)drawing->timeline->end_us;
}

static unsigned band_height(const struct drawing *drawing)
{
    return LINE * drawing->group_count + LINE;
}

static unsigned band_top(const struct drawing *drawing, unsigned node)
{
    return TOP + node * (band_height(drawing) + GAP);
}

static void rectangle(struct drawing *drawing, int64_t from_us, int64_t to_us, unsigned top, unsigned height,
                      const char *color, const char *tip)
{
    (void)fprintf(drawing->file,
                  "<rect x=\"%.1f\" y=\"%u\" width=\"%.1f\" height=\"%u\" fill=\"%s\"><title>%s</title></rect>\n",
                  x_of(drawing, from_us), top, x_of(drawing, to_us) - x_of(drawing, from_us), height, color, tip);
}

static void text(struct drawing *drawing, double x, double y, const char *what)
{
    (void)fprintf(drawing->file, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x, y, what);
}

static void find_groups(struct drawing *drawing)
{
    const struct timeline *timeline = drawing->timeline;
    for (size_t i = 0; i < timeline->observed_count; i++) {
        uint64_t group = timeline->observed[i].group;
        unsigned n = 0;
        while (n < drawing->group_count && drawing->groups[n] != group) {
            n++;
        }
        if (group != 0 && n == drawing->group_count && n < LINES_MAX) {
            drawing->groups[drawing->group_count++] = group;
        }
    }
}

/* When the next thing of the same broker and group was seen, or its broker ended. */
static int64_t until(const struct timeline *timeline, size_t index)
{
    const struct observed *event = &timeline->observed[index];
    for (size_t i = index + 1; i < timeline->observed_count; i++) {
        const struct observed *next = &timeline->observed[i];
        bool is_end = event->group != 0 && next->group == 0 && next->value == 0;
        if (next->node == event->node && (next->group == event->group || is_end)) {
            return next->at_us;
        }
    }
    return timeline->end_us;
}

static void draw_broker(struct drawing *drawing, unsigned node)
{
    static const char *const states[] = {"#d9d9d9", "#eef6ee", "#fff2cc"};
    static const char *const state_names[] = {"down", "runs", "paused"};
    const struct timeline *timeline = drawing->timeline;
    char tip[80];
    unsigned top = band_top(drawing, node);
    (void)snprintf(tip, sizeof(tip), "n%u", node + 1);
    text(drawing, 10, top + LINE, tip);
    for (size_t i = 0; i < timeline->observed_count; i++) {
        const struct observed *event = &timeline->observed[i];
        if (event->node == node && event->group == 0) {
            rectangle(drawing, event->at_us, until(timeline, i), top, band_height(drawing), states[event->value],
                      state_names[event->value]);
        }
    }
    for (unsigned n = 0; n < drawing->group_count; n++) {
        (void)snprintf(tip, sizeof(tip), "group %llu", (unsigned long long)drawing->groups[n]);
        text(drawing, 35, top + LINE * (n + 1) - 1, tip);
    }
    for (size_t i = 0; i < timeline->observed_count; i++) {
        static const char *const colors[] = {NULL, "#f4b183", "#9dc3e6", "#2e75b6"};
        const struct observed *event = &timeline->observed[i];
        for (unsigned n = 0; n < drawing->group_count; n++) {
            if (event->node == node && event->group == drawing->groups[n] && colors[event->value] != NULL) {
                (void)snprintf(tip, sizeof(tip), "%s in term %llu", event->value == 1 ? "candidate" : "leader",
                               (unsigned long long)event->term);
                rectangle(drawing, event->at_us, until(timeline, i), top + LINE * n + 2, LINE - 3, colors[event->value],
                          tip);
            }
        }
    }
}

static void draw_faults(struct drawing *drawing)
{
    const struct timeline *timeline = drawing->timeline;
    for (size_t i = 0; i < timeline->fault_count; i++) {
        const struct fault_record *fault = &timeline->faults[i];
        unsigned top = fault->is_net ? TOP - 24 : band_top(drawing, fault->node) - 8;
        int64_t end_us = fault->end_us > 0 ? fault->end_us : timeline->end_us;
        rectangle(drawing, fault->begin_us, end_us, top, 6, "#c00000", fault->name);
        text(drawing, x_of(drawing, fault->begin_us), top - 1, fault->name);
    }
}

static void draw_acks(struct drawing *drawing)
{
    const struct timeline *timeline = drawing->timeline;
    unsigned bottom = band_top(drawing, timeline->node_count) + ACKS_HEIGHT;
    uint32_t most = 1;
    for (size_t i = 0; i < timeline->acked_count; i++) {
        most = timeline->acked[i] > most ? timeline->acked[i] : most;
    }
    text(drawing, 10, bottom - ACKS_HEIGHT / 2.0, "acks");
    for (size_t i = 0; i < timeline->acked_count; i++) {
        int64_t from_us = (int64_t)i * timeline->acked_slice_us;
        unsigned height = timeline->acked[i] * ACKS_HEIGHT / most;
        char tip[40];
        (void)snprintf(tip, sizeof(tip), "%u at %.1f s", timeline->acked[i], (double)from_us / 1e6);
        rectangle(drawing, from_us, from_us + timeline->acked_slice_us, bottom - height, height, "#70ad47", tip);
    }
    for (int64_t at_us = 0; at_us <= timeline->end_us; at_us += 5000000) {
        char label[24];
        (void)snprintf(label, sizeof(label), "%lld s", (long long)(at_us / 1000000));
        text(drawing, x_of(drawing, at_us), bottom + 14, label);
    }
}

bool timeline_write(const struct timeline *timeline, const char *path)
{
    struct drawing drawing = {.file = fopen(path, "we"), .timeline = timeline};
    if (drawing.file == NULL) {
        return false;
    }
    find_groups(&drawing);
    (void)fprintf(drawing.file,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" font-family=\"sans-serif\" "
                  "font-size=\"9\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
                  WIDTH, band_top(&drawing, timeline->node_count) + ACKS_HEIGHT + 24);
    text(&drawing, 10, 14, timeline->title);
    for (unsigned i = 0; i < timeline->node_count; i++) {
        draw_broker(&drawing, i);
    }
    draw_faults(&drawing);
    draw_acks(&drawing);
    (void)fprintf(drawing.file, "</svg>\n");
    return fclose(drawing.file) == 0;
}
