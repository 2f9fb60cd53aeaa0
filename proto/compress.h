/* The five codecs of Kafka's record batches over whole blocks of bytes. The only user of zlib, snappy, lz4 and zstd.
 * Packed input is hostile: output is bounded by the buffer's size_max, memory is taken as output appears (or as the
 * format proves that it will), never because a header says so. Pure; any thread. */
#pragma once

#include "base/dynbuf.h"
#include "proto/record_batch.h"

/* Appends the plain form of `packed` to `plain`. gzip: members; snappy: xerial framing (Java) or one raw block; lz4:
 * frames; zstd: frames; none: a copy. ERR_TOO_LARGE: more than plain->size_max; ERR_CORRUPT: not of this codec,
 * damaged, cut; ERR_UNSUPPORTED: no such codec. `plain` holds what was unpacked so far on failure. */
MUST_CHECK enum err compress_unpack(enum record_codec codec, struct bytes packed, struct dynbuf *plain);

/* Appends the packed form of `plain`, framed as the Java client does. ERR_TOO_LARGE, ERR_UNSUPPORTED. */
MUST_CHECK enum err compress_pack(enum record_codec codec, struct bytes plain, struct dynbuf *packed);
