/* A datagram of a worker: whatever it says, what is kept is bounded and printable. */
#include "fuzz.h"
#include "policy/notify_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct notify_msg msg;

    memset(&msg, 0xa5, sizeof(msg));
    if (notify_msg_parse((const char *)data, size, &msg) < 0)
        return 0;
    fuzz_check(size <= NOTIFY_MSG_MAX);
    if (msg.bits & NOTIFY_STATUS)
        fuzz_check(memchr(msg.status, '\0', sizeof(msg.status)));
    for (const char *p = msg.bits & NOTIFY_STATUS ? msg.status : ""; *p; p++)
        fuzz_check((unsigned char)*p >= ' ' && *p != 0x7f);
    if (msg.bits & NOTIFY_MAINPID)
        fuzz_check(msg.main_pid > 0);
    return 0;
}
