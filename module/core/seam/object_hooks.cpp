// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The hooks of object caches (object/hooks.hpp) as the seam has them: slabs and
// descriptors are metadata of the core, charged to whoever makes the cache grow. Blocks of
// a page and above are aligned to a page; no object of the core wants more.
#include "../object/hooks.hpp"
#include "../platform/kernel.hpp"

namespace quarry {

void* object_slab_alloc(std::size_t bytes, std::size_t align, Context context) {
    return align <= kPageBytes ? KernelPlatform::meta_alloc(bytes, context) : nullptr;
}
void object_slab_free(void* slab, std::size_t bytes, std::size_t) {
    KernelPlatform::meta_free(slab, bytes);
}
void* object_meta_alloc(std::size_t bytes, Context context) {
    return KernelPlatform::meta_alloc(bytes, context);
}
void object_meta_free(void* meta, std::size_t bytes) { KernelPlatform::meta_free(meta, bytes); }

}  // namespace quarry
