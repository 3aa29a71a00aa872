/* A command line of the settings: words come back from their quoted form. */
#include "fuzz.h"
#include "policy/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_FREE char *text = fuzz_text(data, size);
    CLEANUP_STRV struct strv first = {0}, second = {0};
    CLEANUP_BUF struct buf quoted = BUF_INIT;
    struct why why = {0};

    if (!text || words_split(text, &first, &why) < 0)
        return 0;
    for (size_t i = 0; i < first.n; i++) {
        buf_puts(&quoted, i > 0 ? " " : "");
        words_quote(first.items[i], &quoted);
    }
    fuzz_check(words_split(buf_str(&quoted), &second, &why) == 0);
    fuzz_check(strv_equal(&first, &second));
    return 0;
}
