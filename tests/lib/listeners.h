/* For the unit tests of listeners: opening them, and seeing whether they serve. */
#ifndef PREFORKD_TESTS_LISTENERS_H
#define PREFORKD_TESTS_LISTENERS_H

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/stat.h>

#include "base/log.h"
#include "mechanism/listener.h"

#include "sockets.h"

enum { SLOTS = 4, BACKLOG = 100, CLIENTS = 200 };

static UNUSED const struct listener_options per_worker = {.backlog = BACKLOG};
static UNUSED const struct listener_options shared = {.backlog = BACKLOG, .shared = true};
static struct why why;
static char folder[] = "/tmp/listener-XXXXXX";

static UNUSED void listener_setup(void)
{
    cr_assert_not_null(mkdtemp(folder));
    log_info(LOG_NOBODY, "the log opens its own descriptor with the first line");
}

static UNUSED void listener_teardown(void)
{
    rmdir(folder);
}

static UNUSED struct listener *open_spec(struct sockspec spec, int nslots,
                                         const struct listener_options *options)
{
    struct listener *l = NULL;

    cr_assert_eq(listener_open(&spec, nslots, options, &l, &why), 0, "%s", why.text);
    return l;
}

static UNUSED struct listener *open_text(const char *text, int nslots,
                                         const struct listener_options *options)
{
    return open_spec(spec_for(text, 0), nslots, options);
}

static UNUSED struct sockspec unix_spec(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    buf_printf(&text, "unix:%s/s", folder);
    return spec_for(buf_str(&text), 0);
}

static UNUSED void expect_refused(struct sockspec spec, const struct listener_options *options,
                                  int err, const char *reason)
{
    struct listener *l = NULL;
    int before = count_descriptors();

    cr_assert_eq(listener_open(&spec, 2, options, &l, &why), err, "%s", why.text);
    cr_assert_not_null(strstr(why.text, reason), "%s", why.text);
    cr_assert_null(l);
    cr_assert_eq(count_descriptors(), before);
}

static UNUSED int number(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    cr_assert_eq(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static UNUSED void set_number(int fd, int level, int option, int value)
{
    cr_assert_eq(setsockopt(fd, level, option, &value, sizeof(value)), 0, "%s", strerror(errno));
}

static UNUSED int backlog_of(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return (int)info.tcpi_sacked;
}

static UNUSED bool accepts(int fd)
{
    return number(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
}

/* One connection to the listener, which an accept on one of its slots answers. */
static UNUSED bool serves(const struct listener *l, const char *address)
{
    struct sockspec to = address ? spec_for(address, 0) : *listener_spec(l);
    CLEANUP_CLOSE int client = connect_to(&to, listener_port(l));
    CLEANUP_CLOSE int served = -1;

    for (int i = 0; client >= 0 && served < 0 && listener_fd(l, i) >= 0; i++) {
        struct pollfd p = {.fd = listener_fd(l, i), .events = POLLIN};

        if (poll(&p, 1, 0) == 1 && (p.revents & POLLIN))
            served = accept4(p.fd, NULL, NULL, SOCK_CLOEXEC);
        if (listener_is_shared(l))
            break;
    }
    return served >= 0;
}

/* Waits until there is something for one of the slots. A socket that is shut down has nothing. */
static UNUSED bool anything_arrives(const struct listener *l)
{
    struct pollfd p[32];
    nfds_t n = 0;

    for (; n < ARRAY_SIZE(p) && listener_fd(l, (int)n) >= 0; n++)
        p[n] = (struct pollfd){.fd = listener_fd(l, (int)n), .events = POLLIN};
    while (poll(p, n, ARRIVAL_MS) > 0)
        for (nfds_t i = 0; i < n; i++) {
            if (p[i].revents & POLLIN)
                return true;
            if (p[i].revents)
                p[i].fd = -1;
        }
    return false;
}

/* A datagram that one of the slots receives. */
static UNUSED bool receives(const struct listener *l, const char *address)
{
    struct sockspec to = spec_for(address, 0);
    CLEANUP_CLOSE int client = connect_to(&to, listener_port(l));
    char byte = 'x';
    bool received = false;

    cr_assert_eq(send(client, &byte, 1, 0), 1);
    anything_arrives(l);
    for (int i = 0; !received && listener_fd(l, i) >= 0; i++) {
        received = recv(listener_fd(l, i), &byte, 1, MSG_DONTWAIT) == 1;
        if (listener_is_shared(l))
            break;
    }
    return received;
}

static UNUSED struct listener *take_listener(int fd)
{
    struct listener *l = NULL;

    cr_assert_eq(listener_take(fd, "web.socket", &per_worker, &l, &why), 0, "%s", why.text);
    return l;
}

#endif
