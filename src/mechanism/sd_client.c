#include "mechanism/sd_client.h"

#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/strv.h"

/* One process has one service manager. */
static struct {
    int fd;
    struct sockaddr_un address;
    socklen_t address_len;
    int64_t watchdog_usec;
    int64_t store_max;
} manager = {.fd = -1};

/* "/path" or "@abstract", whose first byte stands for a NUL; see unix(7). */
static int parse_address(const char *text)
{
    struct sockaddr_un *address = &manager.address;
    bool is_abstract = text[0] == '@';
    size_t len = strlen(text);

    if ((!is_abstract && text[0] != '/') || len < 2)
        return -EAFNOSUPPORT;
    if (len + !is_abstract > sizeof(address->sun_path))
        return -ENAMETOOLONG;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, text, len);
    if (is_abstract)
        address->sun_path[0] = '\0';
    manager.address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !is_abstract);
    return 0;
}

/* A positive decimal number, else 0. */
static int64_t parse_positive(const char *text)
{
    long long value;

    if (!text || !*text || text[strspn(text, "0123456789")])
        return 0;
    errno = 0;
    value = strtoll(text, NULL, 10);
    return errno ? 0 : value;
}

/* Without WATCHDOG_PID the watchdog is meant for whoever reads it; see sd_watchdog_enabled(3). */
static int64_t read_watchdog(const struct strv *env)
{
    const char *pid = strv_env_get(env, "WATCHDOG_PID");

    if (pid && parse_positive(pid) != getpid())
        return 0;
    return parse_positive(strv_env_get(env, "WATCHDOG_USEC"));
}

int sd_client_init(char *const *envp)
{
    struct strv env = {.items = (char **)envp}; /* only read */
    const char *address;
    int err;

    sd_client_close();
    while (envp[env.n])
        env.n++;
    address = strv_env_get(&env, "NOTIFY_SOCKET");
    if (!address)
        return 0;
    err = parse_address(address);
    if (err < 0)
        return err;
    manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (manager.fd < 0)
        return -errno;
    manager.watchdog_usec = read_watchdog(&env);
    manager.store_max = parse_positive(strv_env_get(&env, "FDSTORE"));
    return 0;
}

void sd_client_close(void)
{
    util_close_p(&manager.fd);
    manager.watchdog_usec = manager.store_max = 0;
}

bool sd_client_enabled(void)
{
    return manager.fd >= 0;
}

int64_t sd_client_watchdog_usec(void)
{
    return manager.watchdog_usec;
}

int64_t sd_client_store_max(void)
{
    return manager.store_max;
}

/* Not connected: the manager may make its socket anew while we live. */
static int send_message(struct buf *text, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS,
                            .cmsg_len = CMSG_LEN(sizeof(int))}};
    struct iovec data = {.iov_base = text->data, .iov_len = text->len};
    struct msghdr message = {.msg_name = &manager.address,
                             .msg_namelen = manager.address_len,
                             .msg_iov = &data,
                             .msg_iovlen = 1};

    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.room);
    }
    return sendmsg(manager.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int PRINTF_LIKE(2, 0) send_text(int fd, const char *fmt, va_list ap)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    if (manager.fd < 0)
        return 0;
    buf_vprintf(&text, fmt, ap);
    return text.failed ? -ENOMEM : send_message(&text, fd);
}

int sd_client_send(const char *fmt, ...)
{
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = send_text(-1, fmt, ap);
    va_end(ap);
    return r;
}

int sd_client_send_fd(int fd, const char *fmt, ...)
{
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = send_text(fd, fmt, ap);
    va_end(ap);
    return r;
}
