/* A cluster made by hand: a pool with an idle slot and one whose worker is this process. */
#ifndef PREFORKD_TESTS_UNIT_STATUS_FIXTURE_H
#define PREFORKD_TESTS_UNIT_STATUS_FIXTURE_H

#include <criterion/criterion.h>

#include "base/clock.h"
#include "interface/status.h"

struct status_fixture {
    char *words[3];
    struct pool_settings settings;
    struct output_losses losses;
    struct generation generation;
    struct worker worker;
    struct slot slots[2];
    struct slot *slot_list[2];
    struct pool pool;
    struct pool *pools[1];
    struct cluster cluster;
    struct reload reload;
    struct restart restart;
    struct status status;
};

static inline void status_fixture_make(struct status_fixture *f)
{
    *f = (struct status_fixture){.words = {"/bin/run it", "--password=secret", NULL}};
    f->settings.name = "we\"\nb";
    f->settings.backlog = 128;
    f->settings.command = (struct strv){.items = f->words, .n = 2};
    f->settings.min_ready.value = 1;
    f->losses.lines = 5;
    f->generation = (struct generation){
        .refs = 1, .number = 3, .pool = &f->settings, .workers = 2, .losses = &f->losses};
    f->worker = (struct worker){.gen = &f->generation,
                                .pid = getpid(),
                                .main_pid = getpid(),
                                .state = WORKER_READY,
                                .started_ms = clock_ms() - 1500,
                                .status = "fine \xff \"quoted\""};
    for (int i = 0; i < 2; i++) {
        f->slots[i] = (struct slot){.index = i, .wanted = &f->generation};
        f->slot_list[i] = &f->slots[i];
    }
    f->slots[0].state = SLOT_UP;
    f->slots[0].cur = &f->worker;
    f->slots[0].restarts = 2;
    f->slots[0].last_exit = (struct worker_exit){.kind = WORKER_EXIT_SIGNAL,
                                                 .code = 9,
                                                 .reason = RESTART_SIGNAL,
                                                 .at_wall_ms = 1795234567890};
    f->pool = (struct pool){.gen = &f->generation, .slots = f->slot_list, .nslots = 2, .wanted = 2};
    f->pool.restarts[RESTART_SIGNAL] = 2;
    histogram_add(&f->pool.start_times, 20);
    f->pools[0] = &f->pool;
    f->cluster = (struct cluster){.pools = f->pools, .npools = 1, .generation = 4, .started = true};
    f->reload = (struct reload){.cluster = &f->cluster,
                                .result = RELOAD_FAILED,
                                .reason = "web.conf:3: 'secret'",
                                .refused = true,
                                .last_failed = true,
                                .duration_ms = 250,
                                .total = {1, 2}};
    f->status = (struct status){.cluster = &f->cluster,
                                .reload = &f->reload,
                                .restart = &f->restart,
                                .began_ms = clock_ms() - 10000,
                                .began_wall_ms = clock_wall_ms() - 10000};
}

#endif
