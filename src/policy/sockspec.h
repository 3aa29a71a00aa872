/* What `listen` and `health` ask for, parsed: no socket is made here. */
#ifndef PREFORKD_POLICY_SOCKSPEC_H
#define PREFORKD_POLICY_SOCKSPEC_H

#include <netinet/in.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/why.h"

enum sockspec_kind {
    SOCKSPEC_DUAL,    /* "8080", "*:8080": every IPv6 and IPv4 address by one socket */
    SOCKSPEC_IP4,     /* "127.0.0.1:8080", "0.0.0.0:8080" */
    SOCKSPEC_IP6,     /* "[::1]:8080", "[::]:8080" (IPv6 only) */
    SOCKSPEC_UNIX,    /* "unix:/run/x.sock", "unix:@abstract" */
    SOCKSPEC_SYSTEMD, /* "systemd:NAME": inherited by socket activation, by FileDescriptorName= */
};

struct sockspec {
    enum sockspec_kind kind;
    bool udp; /* "udp:53", "udp:127.0.0.1:53" */
    uint16_t port;
    struct in_addr ip4;
    struct in6_addr ip6;
    uint32_t scope_id;  /* "[fe80::1%2]:80" */
    char interface[16]; /* "[fe80::1%eth0]:80": the name, as scope_id stays 0:
                           whoever binds asks if_nametoindex(3), each time */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* '@' first: abstract */
    char name[64];            /* "...,name=web": LISTEN_FDNAMES; "" unset */
    mode_t mode;              /* "...,mode=0660" of a Unix socket; default 0660 */
    char user[32], group[32]; /* "...,user=www,group=www" of a Unix socket */
};

/* Reads one address with its options. 0, or -EINVAL with the reason, which does not repeat `text`:
 * "port 70000 is out of range (0..65535)". Host names are refused: an address is what it says. */
int sockspec_parse(const char *text, struct sockspec *out, struct why *why);

/* Appends the address in the form that sockspec_parse() reads, without options; `port` in place of
 * its own when it is not 0 (what the kernel chose for ":0"). DUAL is written "*:8080". */
void sockspec_format(const struct sockspec *spec, uint16_t port, struct buf *out);

/* The same address, protocol and port. Options are not compared. */
bool sockspec_same_address(const struct sockspec *a, const struct sockspec *b);

/* Fills a socket address for bind(2); DUAL gives [::]. `port` as in sockspec_format(). Not for
 * SYSTEMD. */
socklen_t sockspec_sockaddr(const struct sockspec *spec, uint16_t port,
                            struct sockaddr_storage *out);

/* The way back, from what a socket is bound to or somebody asks for. `v6only` tells DUAL from [::];
 * ::ffff:1.2.3.4 becomes IP4. UDP and what a socket address does not tell is left as it is in
 * `out`. -EAFNOSUPPORT, or -EINVAL: too short, or a Unix name that a path cannot stand for. */
int sockspec_from_sockaddr(const struct sockaddr_storage *address, socklen_t len, bool v6only,
                           struct sockspec *out);

#endif
