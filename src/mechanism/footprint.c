#include "mechanism/footprint.h"

#include <link.h>
#include <sys/mman.h>

#include "base/util.h"

/* Relocations in the text are changes that would be lost. */
static bool has_text_relocations(const struct dl_phdr_info *object)
{
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];

        if (segment->p_type != PT_DYNAMIC)
            continue;
        for (const ElfW(Dyn) *d = (const void *)(object->dlpi_addr + segment->p_vaddr);
             d->d_tag != DT_NULL; d++)
            if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && d->d_un.d_val & DF_TEXTREL))
                return true;
    }
    return false;
}

/* Only whole pages: at the ends of a segment another one may begin. */
static int trim_object(struct dl_phdr_info *object, size_t size UNUSED, void *data UNUSED)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    if (has_text_relocations(object))
        return 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + segment->p_vaddr, end = start + segment->p_memsz;

        if (segment->p_type != PT_LOAD || segment->p_flags & PF_W)
            continue;
        start = (start + page - 1) & ~(page - 1);
        end &= ~(page - 1);
        if (start < end)
            madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void footprint_trim(void)
{
    dl_iterate_phdr(trim_object, NULL);
}
