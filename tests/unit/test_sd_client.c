#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/sys.h"
#include "mechanism/sd_client.h"

/* A socket that plays the service manager, bound to `address` ("@name" or a path). */
static int open_manager(const char *address)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(address);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memcpy(un.sun_path, address, len);
    if (address[0] == '@')
        un.sun_path[0] = '\0';
    else
        unlink(address);
    cr_assert_eq(
        bind(fd, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
        0);
    return fd;
}

static void expect_received(int fd, const char *expected)
{
    char text[8192];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    cr_assert_geq(n, 0);
    text[n] = '\0';
    cr_expect_str_eq(text, expected);
}

static int init_with(const char *socket_address, const char *more, const char *still_more)
{
    char address[256];
    const char *envp[] = {"NOTIFY_SOCKETS=/wrong", address, more, more ? still_more : NULL, NULL};

    snprintf(address, sizeof(address), "NOTIFY_SOCKET=%s", socket_address);
    return sd_client_init((char *const *)envp);
}

Test(sd_client, without_a_manager_nothing_happens)
{
    char *envp[] = {"PATH=/bin", "WATCHDOG_USEC=1000", NULL};

    cr_assert_eq(sd_client_init(envp), 0);
    cr_expect_not(sd_client_enabled());
    cr_expect_eq(sd_client_watchdog_usec(), 0);
    cr_expect_eq(sd_client_send("READY=1"), 0);
}

Test(sd_client, abstract_address)
{
    char address[64];
    int fd;

    snprintf(address, sizeof(address), "@preforkd-test-%d", (int)getpid());
    fd = open_manager(address);
    cr_assert_eq(init_with(address, NULL, NULL), 0);
    cr_expect(sd_client_enabled());
    cr_expect_eq(sd_client_send("READY=1\nSTATUS=%d workers", 4), 0);
    expect_received(fd, "READY=1\nSTATUS=4 workers");
    sd_client_close();
    cr_expect_not(sd_client_enabled());
    cr_expect_eq(sd_client_send("STOPPING=1"), 0);
    cr_expect(recv(fd, address, sizeof(address), 0) < 0 && errno == EAGAIN);
    close(fd);
}

Test(sd_client, path_and_a_manager_that_starts_anew)
{
    char folder[] = "/tmp/sd_client.XXXXXX", path[64];
    int fd;

    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/notify", folder);
    fd = open_manager(path);
    cr_assert_eq(init_with(path, NULL, NULL), 0);
    cr_expect_eq(sd_client_send("READY=1"), 0);
    expect_received(fd, "READY=1");
    close(fd);
    cr_expect_eq(sd_client_send("WATCHDOG=1"), -ECONNREFUSED);
    fd = open_manager(path);
    cr_expect_eq(sd_client_send("WATCHDOG=1"), 0);
    expect_received(fd, "WATCHDOG=1");
    close(fd);
    unlink(path);
    cr_expect_eq(sd_client_send("WATCHDOG=1"), -ENOENT);
    sd_client_close();
    rmdir(folder);
}

Test(sd_client, a_manager_that_does_not_read)
{
    char address[64];
    int fd, sent = 0, result = 0;

    snprintf(address, sizeof(address), "@preforkd-full-%d", (int)getpid());
    fd = open_manager(address);
    cr_assert_eq(init_with(address, NULL, NULL), 0);
    while (sent < 100000 && (result = sd_client_send("WATCHDOG=1")) == 0)
        sent++;
    cr_expect_eq(result, -EAGAIN);
    expect_received(fd, "WATCHDOG=1");
    cr_expect_eq(sd_client_send("WATCHDOG=1"), 0);
    sd_client_close();
    close(fd);
}

Test(sd_client, addresses_that_are_refused)
{
    char too_long[128];

    cr_expect_eq(init_with("vsock:2:1234", NULL, NULL), -EAFNOSUPPORT);
    cr_expect_eq(init_with("relative", NULL, NULL), -EAFNOSUPPORT);
    cr_expect_eq(init_with("", NULL, NULL), -EAFNOSUPPORT);
    cr_expect_eq(init_with("@", NULL, NULL), -EAFNOSUPPORT);
    cr_expect_eq(init_with("/", NULL, NULL), -EAFNOSUPPORT);
    cr_expect_not(sd_client_enabled());

    memset(too_long, 'a', sizeof(too_long));
    too_long[0] = '/';
    too_long[108] = '\0'; /* no room for the NUL */
    cr_expect_eq(init_with(too_long, NULL, NULL), -ENAMETOOLONG);
    too_long[107] = '\0';
    cr_expect_eq(init_with(too_long, NULL, NULL), 0);
    too_long[0] = '@';
    too_long[107] = 'a';
    cr_expect_eq(init_with(too_long, NULL, NULL), 0, "an abstract name needs no NUL");
    too_long[108] = 'a';
    too_long[109] = '\0';
    cr_expect_eq(init_with(too_long, NULL, NULL), -ENAMETOOLONG);
    cr_expect_not(sd_client_enabled(), "a failure leaves nothing of an earlier address");
    sd_client_close();
}

Test(sd_client, watchdog)
{
    char own[32], other[32];

    snprintf(own, sizeof(own), "WATCHDOG_PID=%d", (int)getpid());
    snprintf(other, sizeof(other), "WATCHDOG_PID=%d", (int)getppid());
    cr_assert_eq(init_with("@x", "WATCHDOG_USEC=30000000", NULL), 0);
    cr_expect_eq(sd_client_watchdog_usec(), 30000000);
    cr_assert_eq(init_with("@x", "WATCHDOG_USEC=30000000", own), 0);
    cr_expect_eq(sd_client_watchdog_usec(), 30000000);
    cr_assert_eq(init_with("@x", "WATCHDOG_USEC=30000000", other), 0);
    cr_expect_eq(sd_client_watchdog_usec(), 0);
    cr_assert_eq(init_with("@x", "WATCHDOG_USEC=30000000", "WATCHDOG_PID="), 0);
    cr_expect_eq(sd_client_watchdog_usec(), 0);
    sd_client_close();
    cr_expect_eq(sd_client_watchdog_usec(), 0);
}

Test(sd_client, watchdog_that_is_malformed)
{
    const char *cases[] = {"WATCHDOG_USEC=", "WATCHDOG_USEC=-1", "WATCHDOG_USEC=0",
                           "WATCHDOG_USEC=1s", "WATCHDOG_USEC=99999999999999999999"};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cr_assert_eq(init_with("@x", cases[i], NULL), 0);
        cr_expect_eq(sd_client_watchdog_usec(), 0, "%s", cases[i]);
    }
    sd_client_close();
}

static int received_descriptor(int fd, const char *expected)
{
    char text[256];
    int passed;
    ssize_t n = sys_receive_with_fd(fd, text, sizeof(text) - 1, &passed);

    cr_assert_geq(n, 0);
    text[n] = '\0';
    cr_expect_str_eq(text, expected);
    return passed;
}

Test(sd_client, descriptor_store)
{
    char address[64];
    struct stat sent, passed;
    int fd, other;

    snprintf(address, sizeof(address), "@preforkd-test-%d", (int)getpid());
    fd = open_manager(address);
    cr_assert_eq(init_with(address, "FDSTORE=512", NULL), 0);
    cr_expect_eq(sd_client_store_max(), 512);
    cr_expect_eq(sd_client_send_fd(fd, "FDSTORE=1\nFDNAME=%s", "x"), 0);
    other = received_descriptor(fd, "FDSTORE=1\nFDNAME=x");
    cr_assert_eq(fstat(fd, &sent), 0);
    cr_assert_eq(fstat(other, &passed), 0);
    cr_expect_eq(sent.st_ino, passed.st_ino);
    close(other);
    cr_expect_eq(sd_client_send_fd(-2, "FDSTORE=1"), 0);
    cr_expect_eq(received_descriptor(fd, "FDSTORE=1"), -1);
    cr_assert_eq(init_with(address, "FDSTORE=many", NULL), 0);
    cr_expect_eq(sd_client_store_max(), 0);
    sd_client_close();
    cr_expect_eq(sd_client_send_fd(fd, "FDSTORE=1"), 0);
    cr_expect_eq(sd_client_store_max(), 0);
    close(fd);
}
