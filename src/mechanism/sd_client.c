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
    return 0;
}

void sd_client_close(void)
{
    util_close_p(&manager.fd);
    manager.watchdog_usec = 0;
}

bool sd_client_enabled(void)
{
    return manager.fd >= 0;
}

int64_t sd_client_watchdog_usec(void)
{
    return manager.watchdog_usec;
}

int sd_client_send(const char *fmt, ...)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    va_list ap;

    if (manager.fd < 0)
        return 0;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (text.failed)
        return -ENOMEM;
    /* Not connected: the manager may make its socket anew while we live. */
    if (sendto(manager.fd, buf_str(&text), text.len, MSG_DONTWAIT | MSG_NOSIGNAL,
               (struct sockaddr *)&manager.address, manager.address_len) < 0)
        return -errno;
    return 0;
}
