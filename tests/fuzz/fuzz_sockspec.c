/* An address: what is accepted is the same address when it is printed and read again. */
#include "fuzz.h"
#include "policy/sockspec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_FREE char *text = fuzz_text(data, size);
    CLEANUP_BUF struct buf again = BUF_INIT;
    struct sockspec first, second;
    struct why why = {0};

    if (!text)
        return 0;
    if (sockspec_parse(text, &first, &why) < 0) {
        fuzz_check(why.text[0]);
        return 0;
    }
    sockspec_format(&first, 0, &again);
    fuzz_check(sockspec_parse(buf_str(&again), &second, &why) == 0);
    fuzz_check(sockspec_same_address(&first, &second));
    return 0;
}
