// SPDX-License-Identifier: MIT
//
// Slots against malloc: BitmapSlab (lock-free) and FixedPool (one caller), typed and inlined
// as they are used; 64-byte objects whose first word is written. `hot` is one object made and
// destroyed in a pool that is empty but for it; `full` the same with 10,000 live of 10,240,
// the 240 holes anywhere.
#include <algorithm>
#include <memory>
#include <new>
#include <random>

#include "../../module/core/slots/bitmap_slab.hpp"
#include "../../module/core/slots/fixed_pool.hpp"
#include "case.hpp"

namespace {

using bench::die;
using bench::measure;
using bench::touch;

constexpr uint32_t kSlots = 10'240, kLive = 10'000;

struct Object {
    uint64_t words[8];
    explicit Object(uint64_t first) { touch(&words[0]), words[0] = first; }
};
static_assert(sizeof(Object) == 64);

// One pair through the operator that is measured, which stays inlined: `pairs` in a row.
template <typename Pair>
double hot(Pair&& pair) {
    return measure(64, [&] {
        for (int i = 0; i < 64; ++i) pair();
    });
}

template <typename Slab>
struct Slabbed {
    Slabbed()
        : block(new (std::align_val_t{64}) unsigned char[kSlots * 64]),
          bitmap(Slab::bitmap_bytes(kSlots) / 8) {
        if (!ok(slab.init_apart(block, kSlots * 64, bitmap.data(), bitmap.size() * 8)) ||
            slab.count() != kSlots)
            die("no slab");
    }
    ~Slabbed() {
        quarry::Audit audit;
        slab.verify(audit);
        if (!audit.clean()) die(audit.result().first);
        ::operator delete[](block, std::align_val_t{64});
    }
    unsigned char* block;
    std::vector<uint64_t> bitmap;
    Slab slab;
};
using Slab = quarry::BitmapSlab<Object>;

double bitmap_pairs(Slab& slab) {
    Slab::Local local(slab);
    return hot([&] {
        auto object = local.make(1u);
        if (!object || !ok(local.drop(std::move(object)))) [[unlikely]]
            die("a pair failed");
    });
}
double bitmap_hot() {
    Slabbed<Slab> s;
    return bitmap_pairs(s.slab);
}

// All but kSlots - kLive slots of the pool, which may be any.
template <typename Alloc, typename Free>
void make_holes(Alloc&& alloc, Free&& free) {
    std::vector<Object*> live(kSlots);
    for (auto& object : live) object = alloc();
    std::mt19937 generator(1);
    std::shuffle(live.begin(), live.end(), generator);
    for (uint32_t i = kLive; i < kSlots; ++i) free(live[i]);
}

double bitmap_full() {
    Slabbed<Slab> s;
    make_holes([&] { return *s.slab.alloc(1u); },
               [&](Object* object) {
                   if (!ok(s.slab.free(object))) die("a free failed");
               });
    if (s.slab.live() != kLive) die("not full");
    return bitmap_pairs(s.slab);
}

using Pool = quarry::FixedPool<64, kSlots>;

double fixed_pairs(Pool& pool) {
    return hot([&] {
        const auto object = pool.alloc<Object>(1u);
        if (!object || !ok(pool.free(*object))) [[unlikely]]
            die("a pair failed");
    });
}
double fixed_hot() {
    const auto pool = std::make_unique<Pool>();
    return fixed_pairs(*pool);
}
double fixed_full() {
    const auto pool = std::make_unique<Pool>();
    make_holes([&] { return *pool->alloc<Object>(1u); },
               [&](Object* object) {
                   if (!ok(pool->free(object))) die("a free failed");
               });
    if (pool->allocated() != kLive) die("not full");
    const double ns = fixed_pairs(*pool);
    quarry::Audit audit;
    pool->verify(audit);
    if (!audit.clean()) die(audit.result().first);
    return ns;
}

double malloc_hot() {
    return hot([] {
        void* object = std::malloc(sizeof(Object));
        touch(object);
        std::free(object);
    });
}

const bench::Cases slots_cases{
    {"bitmap-hot", bitmap_hot, malloc_hot},
    {"bitmap-full", bitmap_full},
    {"fixed-hot", fixed_hot, malloc_hot},
    {"fixed-full", fixed_full},
};

}  // namespace
