#include "mechanism/socket_spec.h"

#include <sys/socket.h>

int socket_number(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, option, &value, &len) < 0 ? -errno : value;
}

static int spec_of_ip4(const struct sockaddr_in *a, struct sockspec *out)
{
    out->kind = SOCKSPEC_IP4;
    out->ip4 = a->sin_addr;
    out->port = ntohs(a->sin_port);
    return 0;
}

static int spec_of_ip6(int fd, const struct sockaddr_in6 *a, struct sockspec *out)
{
    out->kind = SOCKSPEC_IP6;
    out->ip6 = a->sin6_addr;
    out->scope_id = a->sin6_scope_id;
    out->port = ntohs(a->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&out->ip6)) {
        out->kind = SOCKSPEC_IP4;
        memcpy(&out->ip4, &out->ip6.s6_addr[12], sizeof(out->ip4));
    } else if (IN6_IS_ADDR_UNSPECIFIED(&out->ip6) &&
               socket_number(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) {
        out->kind = SOCKSPEC_DUAL;
    }
    return 0;
}

static int spec_of_unix(const struct sockaddr_un *a, socklen_t len, struct sockspec *out)
{
    size_t n = len > offsetof(struct sockaddr_un, sun_path)
                   ? len - offsetof(struct sockaddr_un, sun_path)
                   : 0;

    out->kind = SOCKSPEC_UNIX;
    if (n >= sizeof(out->path))
        n = sizeof(out->path) - 1;
    memcpy(out->path, a->sun_path, n);
    if (n > 0 && !out->path[0])
        out->path[0] = '@';
    return 0;
}

int socket_spec(int fd, struct sockspec *out)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);

    *out = (struct sockspec){.udp = socket_number(fd, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM};
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return -errno;
    switch (address.ss_family) {
    case AF_INET: return spec_of_ip4((const struct sockaddr_in *)&address, out);
    case AF_INET6: return spec_of_ip6(fd, (const struct sockaddr_in6 *)&address, out);
    case AF_UNIX: return spec_of_unix((const struct sockaddr_un *)&address, len, out);
    default: return -EAFNOSUPPORT;
    }
}
