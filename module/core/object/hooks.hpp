// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What object caches ask of the build: two pairs of functions that it must define. A
// program that makes an object cache and lacks one does not link, and the linker names
// it. In the module they are in seam/object.cpp, on the seam's hook for metadata.
//
// All are called without any lock of the cache.
#pragma once

#include <cstddef>

#include "../base/types.hpp"

namespace quarry {

// Pages for one slab: `bytes` (a power of two, 4096 at least), aligned to `align` (a power
// of two, 4096 at least, at most `bytes`). Null when refused. Need not be zeroed.
// Context: by `context`.
void* object_slab_alloc(std::size_t bytes, std::size_t align, Context context);
// Takes them back, with what they were asked for. Context: that of whoever drops a box.
void object_slab_free(void* slab, std::size_t bytes, std::size_t align);

// A descriptor or a control block, aligned to 64 bytes. Null when refused. Need not be
// zeroed. Context: by `context`.
void* object_meta_alloc(std::size_t bytes, Context context);
// Context: as object_slab_free.
void object_meta_free(void* meta, std::size_t bytes);

}  // namespace quarry
