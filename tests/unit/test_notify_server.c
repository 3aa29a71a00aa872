#include "../lib/process.h"

#include <ev.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "mechanism/notify_server.h"

struct server {
    struct ev_loop *loop;
    struct notify_server *n;
    int messages;
    struct notify_msg last;
    pid_t last_sender;
    bool close_at_once;
};

static void on_message(void *data, const struct notify_msg *msg, pid_t sender)
{
    struct server *s = data;

    s->messages++;
    s->last = *msg;
    s->last_sender = sender;
    if (s->close_at_once) {
        notify_server_close(s->n);
        s->n = NULL;
    }
}

static const struct notify_server_ops ops = {.message = on_message};

static struct server open_server(void)
{
    struct server s = {.loop = ev_loop_new(0)};

    cr_assert(s.loop);
    return s;
}

/* It listens to this process. */
static void start_server(struct server *s)
{
    cr_assert_eq(notify_server_open(s->loop, &ops, s, &s->n), 0);
    notify_server_set_owner(s->n, getpid(), geteuid());
}

static void close_server(struct server *s)
{
    notify_server_close(s->n);
    cr_expect_not(ev_run(s->loop, EVRUN_NOWAIT), "nothing is left that the loop waits for");
    ev_loop_destroy(s->loop);
}

static struct sockaddr_un address_of(const char *text, socklen_t *len)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    memcpy(un.sun_path + 1, text + 1, strlen(text) - 1);
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text));
    return un;
}

/* Sends with `nfds` descriptors; 0 or -errno. Safe in a play. */
static int send_with(const char *address, const char *data, size_t size, const int *fds, int nfds)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(253 * sizeof(int))];
    } control = {.space = {0}};
    socklen_t len;
    struct sockaddr_un un = address_of(address, &len);
    struct iovec iov = {(void *)data, size};
    struct msghdr msg = {&un, len, &iov, 1, NULL, 0, 0};
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (nfds > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
        memcpy(CMSG_DATA(&control.align), fds, (size_t)nfds * sizeof(int));
    }
    return sendmsg(fd, &msg, 0) < 0 ? -errno : 0;
}

static int send_text(const char *address, const char *text)
{
    return send_with(address, text, strlen(text), NULL, 0);
}

static void turn(struct server *s)
{
    ev_run(s->loop, EVRUN_NOWAIT);
}

/* Sends to this server and lets it read. */
static void tell(struct server *s, const char *text)
{
    cr_assert_eq(send_text(notify_server_address(s->n), text), 0);
    turn(s);
}

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

Test(notify_server, address_is_abstract_and_its_own)
{
    struct server a = open_server(), b = open_server();

    start_server(&a);
    start_server(&b);
    cr_expect_eq(notify_server_address(a.n)[0], '@');
    cr_expect_gt(strlen(notify_server_address(a.n)), 1);
    cr_expect_str_neq(notify_server_address(a.n), notify_server_address(b.n));
    close_server(&a);
    close_server(&b);
}

Test(notify_server, message_and_its_sender)
{
    struct server s = open_server();

    start_server(&s);
    tell(&s, "READY=1\nSTATUS=serving");
    cr_expect_eq(s.messages, 1);
    cr_expect_eq(s.last.bits, NOTIFY_READY | NOTIFY_STATUS);
    cr_expect_str_eq(s.last.status, "serving");
    cr_expect_eq(s.last_sender, getpid());
    cr_expect_eq(notify_server_refused(s.n), 0);
    close_server(&s);
}

/* ---- who may speak ---- */

struct play {
    const char *address;
    uid_t uid;
};

static int play_send(void *data)
{
    const struct play *p = data;

    if (p->uid != geteuid() && setresuid(p->uid, p->uid, p->uid) < 0)
        return FORBIDDEN;
    return send_text(p->address, "READY=1") == 0 ? 0 : 1;
}

Test(notify_server, nobody_may_speak_before_there_is_an_owner)
{
    struct server s = open_server();
    struct play p;

    cr_assert_eq(notify_server_open(s.loop, &ops, &s, &s.n), 0);
    tell(&s, "READY=1");
    p = (struct play){notify_server_address(s.n), geteuid()};
    expect_play(play_send, &p);
    turn(&s);
    cr_expect_eq(s.messages, 0);
    cr_expect_eq(notify_server_refused(s.n), 2);
    close_server(&s);
}

/* What becomes of a message of a process that has ended since. */
static void expect_from_dead(uid_t master, uid_t owner, uid_t sender, int messages)
{
    struct server s = open_server();
    struct play p;

    start_server(&s);
    p = (struct play){notify_server_address(s.n), sender};
    notify_server_set_owner(s.n, getpid(), owner);
    expect_play(play_send, &p);
    cr_assert_eq(seteuid(master), 0);
    turn(&s);
    cr_assert_eq(seteuid(0), 0);
    cr_expect_eq(s.messages, messages, "master %d, owner %d, sender %d", (int)master, (int)owner,
                 (int)sender);
    cr_expect_eq(notify_server_refused(s.n), (uint64_t)!messages);
    close_server(&s);
}

Test(notify_server, a_process_that_is_gone_is_judged_by_its_user)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    expect_from_dead(0, NOBODY, NOBODY, 1);
    expect_from_dead(0, NOBODY, 0, 1);
    expect_from_dead(0, NOBODY, 4321, 0);
    expect_from_dead(0, 0, NOBODY, 0);
    expect_from_dead(NOBODY, 4321, 4321, 1);
    expect_from_dead(NOBODY, 4321, NOBODY, 1);
    expect_from_dead(NOBODY, 4321, 0, 1);
    expect_from_dead(NOBODY, 4321, 1234, 0);
}

/* A child that sends when it is told to and then lives on. */
static pid_t start_sender(const char *address, uid_t uid)
{
    int fds[2];
    pid_t pid;
    char byte;

    cr_assert_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (setresuid(uid, uid, uid) < 0 || send_text(address, "READY=1") < 0 ||
            write(fds[1], "", 1) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    cr_assert_eq(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    return pid;
}

Test(notify_server, descendants_may_speak_and_strangers_may_not)
{
    struct spawn_request r = request_for(sleeper);
    pid_t stranger = start_running(&r), sender;
    struct server s = open_server();

    start_server(&s);
    sender = start_sender(notify_server_address(s.n), geteuid());
    turn(&s);
    cr_expect_eq(s.messages, 1, "a child of the owner");
    cr_expect_eq(s.last_sender, sender);
    end(sender);

    notify_server_set_owner(s.n, stranger, geteuid());
    sender = start_sender(notify_server_address(s.n), geteuid());
    turn(&s);
    cr_expect_eq(s.messages, 1, "neither the owner nor below it");
    cr_expect_eq(notify_server_refused(s.n), 1);
    end(sender);
    end(stranger);
    close_server(&s);
}

Test(notify_server, a_descendant_of_another_user_may_not_speak)
{
    struct server s = open_server();
    pid_t sender;

    if (geteuid() != 0)
        cr_skip_test("needs root");
    start_server(&s);
    sender = start_sender(notify_server_address(s.n), NOBODY);
    turn(&s);
    cr_expect_eq(s.messages, 0);
    cr_expect_eq(notify_server_refused(s.n), 1);
    notify_server_set_owner(s.n, getpid(), NOBODY);
    end(sender);
    sender = start_sender(notify_server_address(s.n), NOBODY);
    turn(&s);
    cr_expect_eq(s.messages, 1);
    end(sender);
    close_server(&s);
}

/* ---- hostile messages ---- */

Test(notify_server, malformed_and_truncated_are_refused)
{
    char text[NOTIFY_MSG_MAX + 1];
    struct server s = open_server();

    start_server(&s);
    memset(text, 'a', sizeof(text));
    memcpy(text, "READY=1\n", 8);
    send_with(notify_server_address(s.n), text, sizeof(text), NULL, 0);
    send_with(notify_server_address(s.n), "READY=1\0", 8, NULL, 0);
    send_with(notify_server_address(s.n), "", 0, NULL, 0);
    turn(&s);
    cr_expect_eq(s.messages, 0);
    cr_expect_eq(notify_server_refused(s.n), 3);
    send_with(notify_server_address(s.n), text, NOTIFY_MSG_MAX, NULL, 0);
    turn(&s);
    cr_expect_eq(s.messages, 1, "the longest that is allowed");
    close_server(&s);
}

Test(notify_server, descriptors_are_closed_at_once)
{
    struct server s = open_server();
    int fds[2], many[253], before;
    char byte;

    start_server(&s);
    cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    before = count_fds();
    send_with(notify_server_address(s.n), "BARRIER=1", 9, &fds[1], 1);
    close(fds[1]);
    cr_expect(read(fds[0], &byte, 1) < 0 && errno == EAGAIN);
    turn(&s);
    cr_expect_eq(read(fds[0], &byte, 1), 0, "closed: this is what the sender waits for");
    cr_expect_eq(s.last.bits, NOTIFY_BARRIER);

    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = fds[0];
    send_with(notify_server_address(s.n), "FDSTORE=1", 9, many, ARRAY_SIZE(many));
    turn(&s);
    notify_server_set_owner(s.n, 0, 0);
    send_with(notify_server_address(s.n), "FDSTORE=1", 9, many, ARRAY_SIZE(many));
    turn(&s);
    cr_expect_eq(notify_server_refused(s.n), 1);
    cr_expect_eq(count_fds(), before - 1, "also those of a message that is refused");
    close(fds[0]);
    close_server(&s);
}

Test(notify_server, no_room_for_descriptors)
{
    struct rlimit low = {.rlim_cur = 0, .rlim_max = 1024};
    struct server s = open_server();
    int many[20];

    start_server(&s);
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = 0;
    send_with(notify_server_address(s.n), "READY=1", 7, many, ARRAY_SIZE(many));
    low.rlim_cur = (rlim_t)count_fds() + 3;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    turn(&s);
    cr_expect_eq(s.messages, 1, "the message stands without them");
    close_server(&s);
}

/* A connection with data that nobody reads: closing it takes as long as it lingers. */
static int open_lingering(int *peer)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    const struct linger minute = {1, 60};
    static char data[1 << 16];
    int listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(listen_fd, (struct sockaddr *)&in, len), 0);
    cr_assert_eq(listen(listen_fd, 1), 0);
    getsockname(listen_fd, (struct sockaddr *)&in, &len);
    cr_assert_eq(connect(fd, (struct sockaddr *)&in, len), 0);
    *peer = accept(listen_fd, NULL, NULL);
    close(listen_fd);
    while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
        ;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &minute, sizeof(minute));
    return fd;
}

Test(notify_server, closing_a_descriptor_does_not_linger, .timeout = 20)
{
    struct server s = open_server();
    int peer, fd = open_lingering(&peer);

    start_server(&s);
    cr_assert_eq(send_with(notify_server_address(s.n), "FDSTORE=1", 9, &fd, 1), 0);
    close(fd);
    turn(&s);
    cr_expect_eq(s.messages, 1);
    close(peer);
    close_server(&s);
}

/* ---- rate ---- */

static int64_t fake_us;

static int64_t fake_clock(void)
{
    return fake_us;
}

/* Sends until the queue is full or `n` are sent; returns how many. */
static int fill(struct server *s, int n)
{
    int sent = 0;

    while (sent < n && send_text(notify_server_address(s->n), "READY=1") == 0)
        sent++;
    return sent;
}

static void on_timeout(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)w, (void)revents;
    ev_break(loop, EVBREAK_ALL);
}

/* How often the loop wakes up in a while. */
static unsigned count_wakeups(struct ev_loop *loop)
{
    unsigned before = ev_iteration(loop);
    ev_timer timeout;

    ev_timer_init(&timeout, on_timeout, 0.05, 0);
    ev_timer_start(loop, &timeout);
    ev_run(loop, 0);
    return ev_iteration(loop) - before;
}

Test(notify_server, a_thousand_in_a_second_and_the_rest_waits)
{
    struct server s = open_server();
    int sent = 0;

    clock_set_source(fake_clock);
    fake_us = 5000000;
    start_server(&s);
    for (int i = 0; i < 2000 && sent < 2000; i++) {
        sent += fill(&s, 2000 - sent);
        turn(&s);
    }
    cr_expect_eq(s.messages, 1000);
    cr_expect_gt(sent, 1000, "some wait in the socket");
    cr_expect_lt(sent, 2000);
    cr_expect_lt(count_wakeups(s.loop), 10, "waiting costs nothing");
    fake_us += 1000000;
    while (s.messages < sent && ev_run(s.loop, EVRUN_ONCE))
        ;
    cr_expect_eq(s.messages, sent);
    cr_expect_eq(notify_server_refused(s.n), 0);
    close_server(&s);
    clock_set_source(NULL);
}

Test(notify_server, a_new_second_begins_without_a_pause)
{
    struct server s = open_server();

    clock_set_source(fake_clock);
    fake_us = 5000000;
    start_server(&s);
    for (int i = 0; i < 1500; i++) {
        tell(&s, "READY=1");
        fake_us += 2000;
    }
    cr_expect_eq(s.messages, 1500);
    close_server(&s);
    clock_set_source(NULL);
}

/* A network namespace of our own, where the queue of a socket may be made longer. */
static bool allow_long_queues(void)
{
    FILE *f;
    bool written;

    if (unshare(CLONE_NEWNET) < 0)
        return false;
    f = fopen("/proc/sys/net/unix/max_dgram_qlen", "w");
    if (!f)
        return false;
    written = fputs("512", f) >= 0;
    return fclose(f) == 0 && written;
}

Test(notify_server, at_most_64_in_one_turn)
{
    struct server s = open_server();

    if (!allow_long_queues())
        cr_skip_test("needs a network namespace");
    start_server(&s);
    cr_assert_eq(fill(&s, 200), 200);
    turn(&s);
    cr_expect_eq(s.messages, 64);
    for (int i = 0; i < 3; i++)
        turn(&s);
    cr_expect_eq(s.messages, 200);
    close_server(&s);
}

/* ---- the end ---- */

Test(notify_server, closed_from_inside_the_callback)
{
    struct server s = open_server();

    start_server(&s);
    s.close_at_once = true;
    fill(&s, 3);
    turn(&s);
    cr_expect_eq(s.messages, 1);
    turn(&s);
    cr_expect_eq(s.messages, 1);
    ev_loop_destroy(s.loop);
}

Test(notify_server, closed_while_it_pauses)
{
    int before = count_fds();
    struct server s = open_server();

    clock_set_source(fake_clock);
    start_server(&s);
    for (int i = 0; i < 1000; i++)
        tell(&s, "READY=1");
    close_server(&s);
    cr_expect_eq(count_fds(), before);
    clock_set_source(NULL);
}
