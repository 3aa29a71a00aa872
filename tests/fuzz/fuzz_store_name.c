/* A name from the descriptor store, which may be anybody's. */
#include <errno.h>

#include "fuzz.h"
#include "policy/store_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_FREE char *text = fuzz_text(data, size);
    CLEANUP_BUF struct buf again = BUF_INIT;
    struct store_name first, second;
    int r;

    if (!text || store_name_parse(text, &first) < 0)
        return 0;
    r = store_name_format(&first, &again);
    if (r == -ENAMETOOLONG) /* bytes that take three in a name */
        return 0;
    fuzz_check(r == 0);
    fuzz_check(store_name_parse(buf_str(&again), &second) == 0);
    fuzz_check(strcmp(first.pool, second.pool) == 0 && first.slot == second.slot);
    fuzz_check(first.discovered == second.discovered);
    fuzz_check(sockspec_same_address(&first.spec, &second.spec));
    return 0;
}
