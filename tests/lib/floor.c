/* The least that a supervisor can be, for comparisons: floor PORT N COMMAND [ARGUMENT]...
 *
 * N workers, each with a socket of its own on 127.0.0.1:PORT as descriptor 3, or without one where
 * PORT is 0. A worker that ends is started again at once by fork(2) and execve(2), and nothing else
 * is done for anybody. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_WORKERS = 4096, WORKER_FD = 3, BACKLOG = 4096 };

static struct {
    int fd;
    pid_t pid;
} workers[MAX_WORKERS];

static void __attribute__((noreturn)) die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_socket(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, BACKLOG) < 0)
        die("listen");
    return fd;
}

static void start(int number, char **command)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    workers[number].pid = pid;
    if (pid > 0)
        return;
    if (workers[number].fd >= 0 && dup2(workers[number].fd, WORKER_FD) < 0)
        die("dup2");
    execv(command[0], command);
    die(command[0]);
}

static int number_of(pid_t pid, int count)
{
    int i = 0;

    while (i < count && workers[i].pid != pid)
        i++;
    return i;
}

static void on_term(int signo)
{
    (void)signo;
    for (int i = 0; i < MAX_WORKERS && workers[i].pid > 0; i++)
        kill(workers[i].pid, SIGKILL);
    _exit(0);
}

int main(int argc, char **argv)
{
    int port = argc > 3 ? atoi(argv[1]) : 0, count = argc > 3 ? atoi(argv[2]) : 0;
    pid_t pid;

    if (count < 1 || count > MAX_WORKERS) {
        fprintf(stderr, "floor PORT N COMMAND [ARGUMENT]...\n");
        return 2;
    }
    signal(SIGTERM, on_term);
    /* Above the workers' number, or dup2() onto itself would leave it closed at exec. */
    for (int i = 0; i < count; i++) {
        int fd = port > 0 ? open_socket(port) : -1;

        workers[i].fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, WORKER_FD + 1);
        if (fd >= 0)
            close(fd);
    }
    for (int i = 0; i < count; i++)
        start(i, argv + 3);
    while ((pid = wait(NULL)) > 0)
        if (number_of(pid, count) < count)
            start(number_of(pid, count), argv + 3);
    return 1;
}
