/* Settings that contradict each other. The one that was set last is blamed, a default never. */
#include "settings_fixture.h"

#define POOL "[pool:web]\ncommand = x\n"

Test(settings_check, backoff)
{
    BADLY("web.conf:3: [pool:web] backoff: backoff '1m' must be at most backoff-max '30s'",
          .text = POOL "backoff = 1m\n");
    BADLY("web.conf:4: [pool:web] backoff-max: backoff '1m' must be at most backoff-max '1s'",
          .text = POOL "backoff = 1m\nbackoff-max = 1s\n");
    BADLY("--backoff-max: backoff '100ms' must be at most backoff-max '99ms'", .text = POOL,
          .args = WORDS("--backoff-max", "99ms"));
    BADLY("environment PREFORKD_BACKOFF: backoff '1m' must be at most backoff-max '5s'",
          .text = POOL "backoff-max = 5s\n", .envp = ((char *[]){"PREFORKD_BACKOFF=1m", NULL}));
    settings_unref(WELL(.text = POOL "backoff = 5s\nbackoff-max = 5s\n"));
}

Test(settings_check, min_ready)
{
    BADLY("web.conf:4: [pool:web] min-ready: min-ready '3' must be at most workers '2'",
          .text = POOL "workers = 2\nmin-ready = 3\n");
    BADLY("--workers: min-ready '3' must be at most workers '2'", .text = POOL "min-ready = 3\n",
          .args = WORDS("-w2"));
    settings_unref(WELL(.text = POOL "workers = 2\nmin-ready = 2\n"));
    settings_unref(WELL(.text = POOL "workers = 2\nmin-ready = 100%\n"));
    settings_unref(WELL(.text = POOL "min-ready = 4096\n"));
}

Test(settings_check, bounds_of_workers)
{
    BADLY("web.conf:4: [pool:web] min-workers: min-workers '3' must be at most workers '2'",
          .text = POOL "workers = 2\nmin-workers = 3\n");
    BADLY("--workers: workers '5' must be at most max-workers '4'",
          .text = POOL "max-workers = 4\n", .args = WORDS("-w5"));
    BADLY("web.conf:4: [pool:web] max-workers: min-workers '3' must be at most max-workers '2'",
          .text = POOL "min-workers = 3\nmax-workers = 2\n");
    BADLY("web.conf:4: [pool:web] min-ready: min-ready '3' must be at most min-workers '2'",
          .text = POOL "min-workers = 2\nmin-ready = 3\n");
    settings_unref(WELL(.text = POOL "workers = 2\nmin-workers = 1\nmax-workers = 3\n"));
    settings_unref(WELL(.text = POOL "workers = 2\nmin-workers = 2\nmax-workers = 2\n"));
    settings_unref(WELL(.text = POOL "min-workers = 2\nmax-workers = 4096\nmin-ready = 2\n"));
    settings_unref(WELL(.text = POOL "min-workers = 1\nmin-ready = 100%\n"));
}

Test(settings_check, fallback)
{
    BADLY(
        "web.conf:4: [pool:web] fallback: '503' is for HTTP over TCP or a Unix socket, and listen "
        "has only udp",
        .text = POOL "listen = udp:53\nfallback = 503\n");
    settings_unref(WELL(.text = POOL "fallback = 503\n"));
    settings_unref(WELL(.text = POOL "listen = udp:53\nfallback = off\n"));
    settings_unref(WELL(.text = POOL "listen = udp:53\nlisten = 80\nfallback = 503\n"));
    settings_unref(WELL(.text = POOL "listen = unix:/run/x\nfallback = 503\n"));
}

Test(settings_check, ready_delay)
{
    BADLY("web.conf:4: [pool:web] ready-delay: ready-delay '1m' must be less than start-timeout "
          "'1m'",
          .text = POOL "ready = delay\nready-delay = 60s\n");
    settings_unref(WELL(.text = POOL "ready = notify\nready-delay = 60s\n"));
    settings_unref(WELL(.text = POOL "ready = delay\nready-delay = 59s\n"));
}

Test(settings_check, probe)
{
    BADLY("web.conf:3: [pool:web] ready: ready 'probe' must be something else with probe 'off'",
          .text = POOL "ready = probe\n");
    BADLY("web.conf:4: [pool:web] accept: accept 'shared' must be per-worker with probe '/'",
          .text = POOL "probe = /\naccept = shared\n");
    BADLY("web.conf:3: [pool:web] probe: there is no TCP address in listen to probe",
          .text = POOL "probe = tcp\nadopt = off\n");
    BADLY("web.conf:3: [pool:web] probe: there is no TCP address in listen to probe",
          .text = POOL "probe = tcp\nadopt = listed\nlisten = udp:53\nlisten = unix:/x\n"
                       "listen = systemd:web\n");
    settings_unref(WELL(.text = POOL "probe = tcp\nready = probe\n"));
    settings_unref(WELL(.text = POOL "probe = /x\nlisten = udp:53\nlisten = [::1]:80\n"
                                     "adopt = off\n"));
    settings_unref(WELL(.text = POOL "probe = off\nlisten = udp:53\nadopt = off\n"));
}

Test(settings_check, one_address_in_two_pools)
{
    BADLY("web.conf:6: [pool:b] listen: '*:8080' is an address of [pool:web] too",
          .text = POOL "listen = 8080\n[pool:b]\ncommand = y\nlisten = *:8080\n");
    BADLY("--listen: '8080' is an address of [pool:web] too",
          .text = POOL "[pool:b]\ncommand = y\n", .args = WORDS("-l8080"));
    BADLY("web.conf:6: [pool:b] listen: 'unix:/x' is an address of [pool:web] too",
          .text = POOL "listen = unix:/x\n[pool:b]\ncommand = y\nlisten = unix:/x\n");
    settings_unref(WELL(.text = POOL "listen = 8080\n[pool:b]\ncommand = y\nlisten = udp:8080\n"));
    settings_unref(WELL(.text = POOL "listen = *:0\n[pool:b]\ncommand = y\nlisten = *:0\n"));
    settings_unref(
        WELL(.text = POOL "listen = 127.0.0.1:1\n[pool:b]\ncommand = y\nlisten = 127.0.0.2:1\n"));
}

Test(settings_check, the_address_of_health)
{
    BADLY("web.conf:5: [pool:web] listen: '*:80' is the address of health too",
          .text = "[preforkd]\nhealth = 80\n" POOL "listen = *:80\n");
    settings_unref(WELL(.text = "[preforkd]\nhealth = 80\n" POOL "listen = 127.0.0.1:80\n"));
    settings_unref(WELL(.text = "[preforkd]\nhealth = *:0\n" POOL "listen = *:0\n"));
}

Test(settings_check, as_many_addresses_as_there_can_be)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct settings *s;

    for (int pool = 0; pool < SETTINGS_POOLS_MAX; pool++) {
        buf_printf(&text, "[pool:p%d]\ncommand = x\n", pool);
        for (int i = 0; i < 64; i++)
            buf_printf(&text, "listen = %d\n", 1000 + pool * 64 + i);
    }
    s = WELL(.text = buf_str(&text));
    cr_expect_eq(s->npools, SETTINGS_POOLS_MAX);
    settings_unref(s);
}
