// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// ObjectCache and SlabSet behind C calls, for the suites (core_types.h): of the module's own
// headers, compiled with the flags of its core. Nothing is decided here.
#include "core_types.h"

#include "../module/core/object/object_cache.hpp"
#include "../module/core/slabs/standalone.hpp"

// The hooks of object caches, as the module has them.
#include "../module/core/seam/object.cpp"

using namespace quarry;

namespace {

u64 destroyed;

struct Thing {
    static constexpr u32 kWords = 165;  // 1320 bytes: three in a page

    explicit Thing(u64 name) {
        for (u64& word : words) word = name;
    }
    ~Thing() {
        for (u64& word : words) word = 0;
        __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
    }
    Thing(const Thing&) = delete;
    Thing& operator=(const Thing&) = delete;

    u64 words[kWords];
};

using Things = ObjectCache<Thing, IrqSpinLock, 4096>;
static_assert(Things::kSlots == QUARRY_THINGS_IN_SLAB);
static_assert(sizeof(Things) == sizeof(quarry_things));
static_assert(sizeof(Things::Box) == sizeof(quarry_thing_box));

Things& of(quarry_things* things) { return *reinterpret_cast<Things*>(things); }
const Things& of(const quarry_things* things) { return *reinterpret_cast<const Things*>(things); }
Things::Box& of(quarry_thing_box* box) { return *reinterpret_cast<Things::Box*>(box); }

int put(Made<Things::Box>&& made, quarry_thing_box* box) {
    if (made) new (box) Things::Box(*std::move(made));
    return to_seam(made.error());
}

using Set = SlabSet<KernelPlatform, QUARRY_SLABSET_CPUS>;

Set& of(quarry_slabset* set) { return *reinterpret_cast<Set*>(set); }
const Set& of(const quarry_slabset* set) { return *reinterpret_cast<const Set*>(set); }

void tell(const Set::Freed& freed, quarry_slabset_freed* out) {
    *out = {freed.slab_is_empty, value(freed.first), freed.pages, freed.meta, freed.meta_bytes};
}

}  // namespace

extern "C" {

int quarry_things_create(quarry_things* things, uint64_t capacity) {
    auto made = Things::create(capacity ? capacity : kUnbounded);
    if (made) new (things) Things(*std::move(made));
    return to_seam(made.error());
}
void quarry_things_clone(quarry_things* things, const quarry_things* from) {
    new (things) Things(of(from));
}
void quarry_things_end(quarry_things* things) {
    of(things).~Things();
    *things = {};
}
int quarry_things_make(quarry_things* things, uint64_t name, quarry_thing_box* box) {
    return put(of(things).make(name), box);
}
int quarry_things_fail(quarry_things* things) {
    return to_seam(of(things).make_with([](void*) { return Error::busy; }).error());
}
int quarry_things_adopt(quarry_things* things, void* thing, quarry_thing_box* box) {
    return put(of(things).adopt(static_cast<Thing*>(thing)), box);
}
uint64_t quarry_things_shrink(quarry_things* things) { return of(things).shrink(); }
void quarry_things_count(const quarry_things* things, quarry_things_counts* counts) {
    const Things& t = of(things);
    *counts = {t.live(), t.handles(), t.slabs(), t.strays(), t.meta_bytes()};
}
void quarry_things_verify(const quarry_things* things, quarry_core_audit* audit) {
    Audit seen;
    of(things).verify(seen);
    *audit = seen.result();
}

void quarry_thing_drop(quarry_thing_box* box) { of(box).reset(); }
void* quarry_thing_release(quarry_thing_box* box) { return of(box).release(); }
uint64_t quarry_thing_name(const quarry_thing_box* box) {
    const Thing* thing = reinterpret_cast<const Things::Box*>(box)->get();
    for (u64 word : thing->words)
        if (word != thing->words[0]) return 0;
    return thing->words[0];
}
uint64_t quarry_things_destroyed(void) { return __atomic_load_n(&destroyed, __ATOMIC_RELAXED); }

uint64_t quarry_slabset_bytes(void) { return sizeof(Set); }
uint64_t quarry_slabset_map_bytes(uint64_t pages) { return Set::map_bytes(pages); }
quarry_slabset* quarry_slabset_create(void* memory, uint64_t first_page, uint64_t pages,
                                      void* map) {
    return reinterpret_cast<quarry_slabset*>(new (memory) Set(PageNumber{first_page}, pages, map));
}
void quarry_slabset_end(quarry_slabset* set) { of(set).~Set(); }
int quarry_slabset_alloc(quarry_slabset* set, uint64_t size, uint64_t align,
                         quarry_slabset_answer* answer) {
    const auto got = of(set).alloc(size, align);
    *answer = {got.offset, got.pages, got.meta_bytes, got.size_class};
    return to_seam(got.why);
}
int quarry_slabset_add(quarry_slabset* set, uint32_t size_class, uint64_t first_page,
                       void* meta) {
    return to_seam(of(set).add_slab(size_class, PageNumber{first_page}, meta));
}
int quarry_slabset_free(quarry_slabset* set, uint64_t offset, quarry_slabset_freed* freed) {
    const auto done = of(set).free(offset);
    tell(*done, freed);
    return to_seam(done.error());
}
int quarry_slabset_free_sized(quarry_slabset* set, uint64_t offset, uint64_t size,
                              quarry_slabset_freed* freed) {
    const auto done = of(set).free_sized(offset, size);
    tell(*done, freed);
    return to_seam(done.error());
}
void quarry_slabset_take_empty(quarry_slabset* set, uint32_t size_class,
                               quarry_slabset_freed* freed) {
    tell(of(set).take_empty(size_class), freed);
}
int quarry_slabset_owner(const quarry_slabset* set, uint64_t offset, uint32_t* cpu) {
    const auto owner = of(set).owner(offset);
    *cpu = *owner;
    return to_seam(owner.error());
}
uint32_t quarry_slabset_class(uint32_t size_class, uint32_t* slot_bytes, uint64_t* pages) {
    if (size_class >= kClasses) return 0;
    *slot_bytes = kSizeClasses[size_class].slot_bytes;
    *pages = pages_of(kSizeClasses[size_class].order);
    return kSizeClasses[size_class].slots;
}

}  // extern "C"
