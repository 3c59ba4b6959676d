// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The hooks of object caches (object/hooks.hpp) as the module has them: both are metadata,
// charged to whoever makes a cache grow. The seam aligns blocks of whole pages to a page.
#include "../object/hooks.hpp"
#include "../platform/kernel.hpp"
#include "../slabs/size_class.hpp"

namespace quarry {

void* object_slab_alloc(std::size_t bytes, std::size_t align, Context context) {
    // No object of the core's own is aligned to more.
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
