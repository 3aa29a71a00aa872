/* The state of a program before this one: read, or refused. */
#include <sys/mman.h>

#include "base/buf.h"
#include "fuzz.h"
#include "mechanism/handover.h"
#include "policy/breaker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"config",    "reason",  "cluster",
                                       "health_fd", "version", "state"};
    CLEANUP_CLOSE int fd = memfd_create("fuzz", MFD_CLOEXEC);
    struct why why = {0};
    json_t *state;

    fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    if (handover_read(fd, &state, &why) < 0) {
        fuzz_check(why.text[0]);
        return 0;
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        char cut[8];

        handover_text(state, keys[i], &text);
        handover_copy_text(state, keys[i], cut, sizeof(cut));
        fuzz_check(memchr(cut, '\0', sizeof(cut)));
        fuzz_check(handover_word(state, keys[i]));
        handover_number(state, keys[i]);
        why.text[0] = '\0';
        fuzz_check(handover_named(state, keys[i], breaker_state_name, BREAKER_NSTATES, &why) >= 0 ||
                   why.text[0]);
    }
    json_decref(state);
    return 0;
}
