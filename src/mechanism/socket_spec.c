#include "mechanism/socket_spec.h"

#include <sys/socket.h>

int socket_number(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, option, &value, &len) < 0 ? -errno : value;
}

int socket_set_number(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int socket_spec(int fd, struct sockspec *out)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);

    *out = (struct sockspec){.udp = socket_number(fd, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM};
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return -errno;
    return sockspec_from_sockaddr(&address, len, socket_number(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0,
                                  out);
}
