/* What a chip's decoder takes, by FAKE_CHIP: `ada`, `ampere`, which has no AV1, or `none`, which answers nothing. */
#include <stdlib.h>
#include <string.h>

typedef struct {
    int codec, chroma;
    unsigned bits_above_8, reserved_1[3];
    unsigned char is_supported, num_units;
    unsigned short output_formats;
    unsigned max_width, max_height, max_blocks;
    unsigned short min_width, min_height;
    unsigned char has_histogram, counter_bits;
    unsigned short max_bins;
    unsigned reserved_2[10];
} Caps;

/* The layout that the SDK documents, on which callers count. */
_Static_assert(sizeof(Caps) == 88, "CUVIDDECODECAPS has 88 bytes");

int cuvidGetDecoderCaps(Caps *caps) {
    const char *chip = getenv("FAKE_CHIP");
    int is_ada = chip && !strcmp(chip, "ada");
    if (!chip || !strcmp(chip, "none")) return 1;
    caps->num_units = is_ada ? 4 : 5;
    if (caps->chroma != 1 || caps->bits_above_8 != 0) return 0;
    switch (caps->codec) {
    case 4: /* H.264 */
        caps->is_supported = 1;
        caps->min_width = 48, caps->min_height = 16;
        caps->max_width = caps->max_height = 4096, caps->max_blocks = 65536;
        break;
    case 8: /* HEVC */
        caps->is_supported = 1;
        caps->min_width = caps->min_height = 144;
        caps->max_width = caps->max_height = 8192, caps->max_blocks = 262144;
        break;
    case 11: /* AV1 */
        caps->is_supported = is_ada;
        caps->min_width = caps->min_height = 128;
        caps->max_width = caps->max_height = 8192, caps->max_blocks = 262144;
        break;
    }
    return 0;
}
