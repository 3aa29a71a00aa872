/* Talking to systemd as a service: sd_notify(3) spoken directly, since its server end is in no
 * library either. Never blocks. */
#ifndef PREFORKD_MECHANISM_SD_CLIENT_H
#define PREFORKD_MECHANISM_SD_CLIENT_H

#include "base/util.h"

/* Reads NOTIFY_SOCKET ("/path" or "@abstract"; others are -EAFNOSUPPORT, told once by the caller)
 * and WATCHDOG_USEC/WATCHDOG_PID and FDSTORE. Without NOTIFY_SOCKET every later call is a no-op. */
int sd_client_init(char *const *envp);
void sd_client_close(void);

bool sd_client_enabled(void);

/* 0: no watchdog wanted of this process. */
int64_t sd_client_watchdog_usec(void);

/* How many descriptors the manager keeps for us (FileDescriptorStoreMax=): FDSTORE, which systemd
 * sets since version 254 and a unit may set for older ones. 0: it keeps none. */
int64_t sd_client_store_max(void);

/* Sends one datagram. -EAGAIN when the manager's socket is full; the caller tries again later. */
int sd_client_send(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* The same with a descriptor beside it, which stays the caller's. */
int sd_client_send_fd(int fd, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
