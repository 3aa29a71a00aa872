/* The smallest worker: says READY=1 where somebody listens, and sleeps until a signal ends it. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../lib/ledger.h"

static void say_ready(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (path == NULL)
        return;
    if (fd < 0 || strlen(path) >= sizeof(sa.sun_path))
        _exit(1);
    memcpy(sa.sun_path, path, strlen(path));
    if (path[0] == '@')
        sa.sun_path[0] = '\0';
    if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&sa,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) != 7)
        _exit(1);
    close(fd);
}

int main(void)
{
    ledger_count(&ledger_open()->started);
    say_ready();
    for (;;)
        pause();
}
