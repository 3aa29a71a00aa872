/* An env-file: what is accepted makes an environment, in which our own words win. */
#include "fuzz.h"
#include "policy/worker_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_FREE char *text = fuzz_text(data, size);
    static char *const base[] = {(char *)"PATH=/bin", (char *)"LISTEN_FDS=7", NULL};
    struct strv command = {0}, none = {0};
    struct worker_env env = {0};
    struct why why = {0};

    if (!text)
        return 0;
    strv_push(&command, "{slot}");
    if (worker_env_build(&(struct worker_env_input){.base = base,
                                                    .env_file_text = text,
                                                    .env_file_name = "env",
                                                    .env = &none,
                                                    .command = &command,
                                                    .pool = "main",
                                                    .slot = 3,
                                                    .workers = 4},
                         &env, &why) == 0) {
        fuzz_check(strcmp(strv_env_get(&env.envp, "PREFORK_SLOT"), "3") == 0);
        for (size_t i = 0; i < env.envp.n; i++)
            fuzz_check(strchr(env.envp.items[i], '='));
    } else {
        fuzz_check(why.text[0]);
    }
    worker_env_free(&env);
    strv_free(&command);
    return 0;
}
