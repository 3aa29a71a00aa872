/* Probes of servers that answer well, badly, late, or never. */
#include "mechanism/probe.h"

#include "base/clock.h"

#include "../lib/listeners.h"

TestSuite(probe, .init = listener_setup, .fini = listener_teardown);

enum { SLOW_MS = 10000, SHORT_MS = 100 };

/* A server that lives in the same loop. */
struct play {
    const char *path; /* NULL: tcp */
    const char *answer;
    int answers; /* how often it is sent; -1: without end */
    bool no_accept, early, closes, resets, defers;
    bool attributed, meant;
    bool connect_is_enough;
    int64_t timeout_ms;
    unsigned stall_ms; /* after the answer, of the whole process */
    enum probe_result expected;
    const char *what;
};

static struct {
    const struct play *play;
    struct ev_loop *loop;
    struct probe *probe;
    ev_io listening, serving;
    char request[512];
    size_t len;
    int calls, asked;
    enum probe_result result;
    char what[128];
} now;

static void on_done(void *data, enum probe_result result, const char *what)
{
    cr_assert_eq(data, &now);
    now.calls++;
    now.result = result;
    snprintf(now.what, sizeof(now.what), "%s", what);
    ev_break(now.loop, EVBREAK_ALL);
}

static bool is_meant(void *data, uint64_t inode)
{
    cr_assert_eq(data, &now);
    cr_assert_neq(inode, 0);
    cr_expect_null(strstr(now.request, "\r\n\r\n"), "the question was complete already");
    now.asked++;
    return now.play->meant;
}

static void end_serving(void)
{
    if (now.calls > 0)
        ev_break(now.loop, EVBREAK_ALL);
    ev_io_stop(now.loop, &now.serving);
    close(now.serving.fd);
    now.serving.fd = -1;
}

static void answer(void)
{
    for (int i = 0; i != now.play->answers; i++)
        if (send(now.serving.fd, now.play->answer, strlen(now.play->answer),
                 MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            return; /* no room: the loop calls again */
    if (now.play->answers > 0)
        now.serving.events = EV_READ;
}

static void on_serving(struct ev_loop *loop UNUSED, ev_io *io, int events UNUSED)
{
    ssize_t n =
        recv(io->fd, now.request + now.len, sizeof(now.request) - 1 - now.len, MSG_DONTWAIT);

    now.len += n > 0 ? (size_t)n : 0;
    if (n == 0 || (n < 0 && errno != EAGAIN))
        end_serving();
    else if (now.play->answers && strstr(now.request, "\r\n\r\n"))
        answer();
    usleep(now.play->stall_ms * 1000);
    if (n > 0 && now.play->closes && strstr(now.request, "\r\n\r\n"))
        end_serving();
}

static void on_listening(struct ev_loop *loop, ev_io *io, int events UNUSED)
{
    struct linger at_once = {1, 0};

    cr_assert_eq(now.serving.fd, -1);
    ev_io_set(&now.serving, accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), EV_READ);
    cr_assert_geq(now.serving.fd, 0);
    if (now.play->resets)
        setsockopt(now.serving.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    if (now.play->early)
        answer();
    if ((now.play->closes && !now.play->path) || now.play->resets) {
        close(now.serving.fd);
        now.serving.fd = -1;
        return;
    }
    ev_io_start(loop, &now.serving);
}

static const struct probe_ops any = {on_done, NULL}, one = {on_done, is_meant};
static struct listener *listener;

/* Until the result is known. */
static void start(const struct play *play, const char *address)
{
    struct listener *l = listener = open_text(address, 1, &per_worker);
    struct probe_request request = {.path = play->path,
                                    .connect_is_enough = play->connect_is_enough,
                                    .timeout_ms = play->timeout_ms ? play->timeout_ms : SLOW_MS};

    memset(&now, 0, sizeof(now));
    now.play = play;
    now.loop = ev_loop_new(EVFLAG_AUTO);
    ev_io_init(&now.serving, on_serving, -1, EV_READ);
    ev_io_init(&now.listening, on_listening, listener_fd(l, 0), EV_READ);
    if (!play->no_accept)
        ev_io_start(now.loop, &now.listening);
    if (play->defers)
        set_number(listener_fd(l, 0), IPPROTO_TCP, TCP_DEFER_ACCEPT, 10);
    cr_assert(probe_target(listener_bound(l), &request.to));
    cr_assert_eq(probe_start(now.loop, &request, play->attributed ? &one : &any, &now, &now.probe),
                 0);
    ev_run(now.loop, 0);
    cr_expect_eq(now.calls, 1);
    cr_expect_eq(now.result, play->expected, "%s: %d", now.what, (int)now.result);
    cr_expect_str_eq(now.what, play->what);
}

static void stop_server(void)
{
    if (now.serving.fd >= 0)
        end_serving();
    ev_io_stop(now.loop, &now.listening);
    listener_unref(listener);
}

static void run(const struct play *play, const char *address)
{
    start(play, address);
    stop_server();
}

static void finish(void)
{
    probe_free(now.probe);
    ev_loop_destroy(now.loop);
}

static void expect(struct play play)
{
    run(&play, "127.0.0.1:0");
    finish();
}

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

Test(probe, http_answers)
{
    static const struct {
        const char *answer;
        enum probe_result result;
        const char *what;
    } cases[] = {
        {OK_ANSWER, PROBE_PASSED, "answered 200"},
        {"HTTP/1.0 204\n\n", PROBE_PASSED, "answered 204"},
        {"HTTP/1.1 302 Found\r\n\r\n", PROBE_PASSED, "answered 302"},
        {"HTTP/1.1 399 ", PROBE_PASSED, "answered 399"},
        {"HTTP/1.1 404 Not Found\r\n\r\n", PROBE_FAILED, "answered 404"},
        {"HTTP/1.1 503 Busy\r\n\r\n", PROBE_FAILED, "answered 503"},
        {"HTTP/1.1 100 Continue\r\n\r\n", PROBE_FAILED, "answered 100"},
        {"HTTP/1.1 2x0 OK\r\n\r\n", PROBE_FAILED, "its answer is not HTTP/1"},
        {"HTTP/2 200\r\n\r\n  ", PROBE_FAILED, "its answer is not HTTP/1"},
        {"SSH-2.0-OpenSSH_9.2\r\n", PROBE_FAILED, "its answer is not HTTP/1"},
        {"\r\n\r\n\r\n\r\n\r\n\r\n", PROBE_FAILED, "its answer is not HTTP/1"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect((struct play){.path = "/",
                             .answer = cases[i].answer,
                             .answers = 1,
                             .expected = cases[i].result,
                             .what = cases[i].what});
}

Test(probe, what_is_asked)
{
    struct play play = {.path = "/live?x=1",
                        .answer = OK_ANSWER,
                        .answers = 1,
                        .expected = PROBE_PASSED,
                        .what = "answered 200"};

    for (int i = 0; i < 2; i++) {
        run(&play, i ? "[::]:0" : "0.0.0.0:0");
        cr_expect(str_after(now.request, i ? "GET /live?x=1 HTTP/1.1\r\nHost: [::1]:"
                                           : "GET /live?x=1 HTTP/1.1\r\nHost: 127.0.0.1:"),
                  "%s", now.request);
        cr_expect_not_null(strstr(now.request, "\r\nConnection: close\r\n"));
        finish();
    }
}

Test(probe, no_good_answer)
{
    expect((struct play){.path = "/",
                         .closes = true,
                         .expected = PROBE_FAILED,
                         .what = "closed the connection without an answer"});
    expect((struct play){.path = "/",
                         .answer = "HTTP/1.1 2",
                         .answers = 1,
                         .closes = true,
                         .expected = PROBE_FAILED,
                         .what = "closed the connection without an answer"});
    expect((struct play){
        .path = "/", .resets = true, .expected = PROBE_FAILED, .what = "Connection reset by peer"});
    expect((struct play){.path = "/",
                         .timeout_ms = SHORT_MS,
                         .expected = PROBE_FAILED,
                         .what = "no answer in time"});
    expect((struct play){.path = "/",
                         .answer = "HTTP/1.1 2",
                         .answers = 1,
                         .timeout_ms = SHORT_MS,
                         .expected = PROBE_FAILED,
                         .what = "no answer in time"});
    expect((struct play){.path = "/",
                         .no_accept = true,
                         .timeout_ms = SHORT_MS,
                         .expected = PROBE_FAILED,
                         .what = "no answer in time"});
}

/* It came in time, and we did not run. */
Test(probe, an_answer_that_waits_for_us_is_not_late)
{
    expect((struct play){.path = "/",
                         .answer = OK_ANSWER,
                         .answers = 1,
                         .timeout_ms = 10 * SHORT_MS,
                         .stall_ms = 12 * SHORT_MS,
                         .expected = PROBE_PASSED,
                         .what = "answered 200"});
}

/* The connection is complete long before a worker takes it. */
Test(probe, tcp_is_accepted_or_not)
{
    expect((struct play){.expected = PROBE_PASSED, .what = "accepted"});
    expect((struct play){.closes = true, .expected = PROBE_PASSED, .what = "accepted"});
    expect((struct play){.answer = "220 here is SMTP\r\n",
                         .answers = 1,
                         .early = true,
                         .expected = PROBE_PASSED,
                         .what = "accepted"});
    expect((struct play){.no_accept = true,
                         .timeout_ms = SHORT_MS,
                         .expected = PROBE_FAILED,
                         .what = "not accepted in time"});
    expect((struct play){.no_accept = true,
                         .connect_is_enough = true,
                         .expected = PROBE_PASSED,
                         .what = "accepted"});
}

/* Two workers share a socket during a replacement. */
Test(probe, tells_who_answered)
{
    struct play play = {.attributed = true, .what = "accepted"};

    for (int meant = 0; meant < 2; meant++) {
        play.meant = meant;
        play.expected = meant ? PROBE_PASSED : PROBE_ELSEWHERE;
        run(&play, "127.0.0.1:0");
        cr_expect_eq(now.asked, 1);
        finish();
    }
    play.path = "/";
    play.answer = OK_ANSWER;
    play.answers = 1;
    play.what = "answered 200";
    for (int deferred = 0; deferred < 2; deferred++)
        for (int meant = 0; meant < 2; meant++) {
            play.meant = meant;
            play.defers = deferred;
            play.expected = meant ? PROBE_PASSED : PROBE_ELSEWHERE;
            run(&play, "127.0.0.1:0");
            cr_expect_eq(now.asked, 1);
            cr_expect_not_null(strstr(now.request, "\r\n\r\n"));
            finish();
        }
}

/* An answer without end is read to its bound, and then the connection is closed. */
static void on_too_late(struct ev_loop *loop UNUSED, ev_timer *timer UNUSED, int events UNUSED)
{
    cr_assert_fail("it goes on reading");
}

Test(probe, an_answer_without_end)
{
    struct play play = {.path = "/",
                        .answer = OK_ANSWER OK_ANSWER OK_ANSWER,
                        .answers = -1,
                        .timeout_ms = 1000 * SLOW_MS,
                        .expected = PROBE_PASSED,
                        .what = "answered 200"};
    int before = count_descriptors();
    ev_timer late;

    start(&play, "127.0.0.1:0");
    ev_timer_init(&late, on_too_late, SLOW_MS / 1000., 0.);
    ev_timer_start(now.loop, &late);
    while (now.serving.fd >= 0)
        ev_run(now.loop, EVRUN_ONCE);
    cr_expect_eq(now.calls, 1);
    ev_timer_stop(now.loop, &late);
    stop_server();
    finish();
    cr_expect_eq(count_descriptors(), before);
}

/* One that trickles is read to the deadline. */
Test(probe, an_answer_that_stays_open)
{
    struct play play = {.path = "/",
                        .answer = OK_ANSWER,
                        .answers = 1,
                        .timeout_ms = 1000,
                        .expected = PROBE_PASSED,
                        .what = "answered 200"};

    start(&play, "127.0.0.1:0");
    while (now.serving.fd >= 0)
        ev_run(now.loop, EVRUN_ONCE);
    stop_server();
    finish();
}

/* A queue that is full takes no connection any more. */
Test(probe, no_connection)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &(struct listener_options){.backlog = 1});
    struct sockspec to;
    int fds[8];
    struct probe_request request = {.timeout_ms = SHORT_MS};

    memset(&now, 0, sizeof(now));
    now.loop = ev_loop_new(EVFLAG_AUTO);
    cr_assert(probe_target(listener_bound(l), &to));
    request.to = to;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = i < 2 ? connect_to(&to, 0) : probe_connect(&to, 0); /* one more than its length */
    cr_assert_eq(probe_start(now.loop, &request, &any, &now, &now.probe), 0);
    ev_run(now.loop, 0);
    cr_expect_eq(now.result, PROBE_FAILED);
    cr_expect_str_eq(now.what, "no connection in time");
    finish();
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    listener_unref(l);
}

Test(probe, nobody_there)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    struct probe_request request = {.timeout_ms = SLOW_MS};
    int r;

    memset(&now, 0, sizeof(now));
    now.loop = ev_loop_new(EVFLAG_AUTO);
    cr_assert(probe_target(listener_bound(l), &request.to));
    listener_unref(l);
    r = probe_start(now.loop, &request, &any, &now, &now.probe);
    if (r == 0) {
        ev_run(now.loop, 0);
        cr_expect_str_eq(now.what, strerror(ECONNREFUSED));
    }
    cr_expect(r == 0 || r == -ECONNREFUSED);
    finish();
}

Test(probe, given_up_at_any_time)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    struct probe_request request = {.path = "/", .timeout_ms = SLOW_MS};
    int before = count_descriptors();

    memset(&now, 0, sizeof(now));
    now.loop = ev_loop_new(EVFLAG_AUTO);
    cr_assert(probe_target(listener_bound(l), &request.to));
    for (int rounds = 0; rounds < 3; rounds++) {
        cr_assert_eq(probe_start(now.loop, &request, &any, &now, &now.probe), 0);
        for (int i = 0; i < rounds; i++)
            ev_run(now.loop, EVRUN_ONCE);
        probe_free(now.probe);
    }
    probe_free(NULL);
    ev_loop_destroy(now.loop);
    cr_expect_leq(count_descriptors(), before);
    cr_expect_eq(now.calls, 0);
    listener_unref(l);
}

Test(probe, targets)
{
    static const struct {
        const char *bound, *to;
    } cases[] = {
        {"8080", "127.0.0.1:8080"},
        {"0.0.0.0:80", "127.0.0.1:80"},
        {"192.0.2.5:80", "192.0.2.5:80"},
        {"[::]:80", "[::1]:80"},
        {"[::1]:80", "[::1]:80"},
        {"[2001:db8::5]:80", "[2001:db8::5]:80"},
        {"[fe80::1%1]:80", NULL},
        {"udp:80", NULL},
        {"unix:/run/x", NULL},
        {"systemd:x", NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sockspec bound = spec_for(cases[i].bound, 0), to;
        bool can = probe_target(&bound, &to);
        CLEANUP_BUF struct buf text = BUF_INIT;

        cr_expect_eq(can, cases[i].to != NULL, "%s", cases[i].bound);
        if (!can)
            continue;
        sockspec_format(&to, 0, &text);
        cr_expect_str_eq(buf_str(&text), cases[i].to);
    }
}
